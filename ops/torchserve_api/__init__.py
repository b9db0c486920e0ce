"""Clients of TorchServe's management and inference APIs."""
