"""Everything that enters the model archive: the recogniser and its TorchServe adapter, on stdlib, numpy and torch."""
