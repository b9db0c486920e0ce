"""TorchServe and the site as processes: java, ports, TLS, settings, keys, process groups."""
