"""A bundle in, a verified TorchServe archive (``.mar``) out."""
