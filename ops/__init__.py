"""TorchServe and the site as processes: start, supervise, drain."""
