"""The command ``nerserve``, and what Python programs import."""
