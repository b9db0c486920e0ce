"""The way to TorchServe: client, retries, breaker, admission, keys, transport; no Flask in it."""
