"""Corpora and word vectors in, a bundle out: the trainer, the evaluation and the recipes of the shipped models."""
