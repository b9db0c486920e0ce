"""The recogniser and its TorchServe adapter, on stdlib, numpy and torch; every archive holds it beside ``contract``."""
