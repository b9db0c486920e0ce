"""The client of TorchServe, without Flask: calls, attempts, breaker, admission, keys, transport."""
