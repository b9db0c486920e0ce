"""The measurements of ``nerserve bench NAME``: ``run(report, settings, ...)`` of the module with that name."""
