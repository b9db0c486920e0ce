"""A run that goes on from the weights of another bundle, with other labels perhaps."""

from __future__ import annotations

import logging

import torch

from handler.bundle import Bundle, tags_of
from handler.vectors import WordVectors
from training.errors import InputError

logger = logging.getLogger(__name__)


def take_weights(source: Bundle, target: Bundle) -> None:
    """Copy the weights of *source* into the model of *target*, which differs in nothing but its labels.

    The rows of the tags that both have, in the linear layer and in the CRF, are copied too; those of new labels stay as
    they are.
    """
    tags = {tag: row for row, tag in enumerate(tags_of(source.config.model))}
    rows = [(row, tags[tag]) for row, tag in enumerate(tags_of(target.config.model)) if tag in tags]
    ours, theirs = (torch.tensor(column) for column in zip(*rows, strict=True))  # O is always among them
    weights = target.model.state_dict()
    for name, old in source.model.state_dict().items():
        new = weights[name]
        if name == "crf.transition_weights":
            new[ours.unsqueeze(1), ours] = old[theirs.unsqueeze(1), theirs]
        elif name.startswith(("linear.", "crf.")):
            new[ours] = old[theirs]
        else:
            new.copy_(old)
    labels = {name: set(bundle.config.model.labels) for name, bundle in (("old", source), ("new", target))}
    kept, fresh = (sorted(found) for found in (labels["new"] & labels["old"], labels["new"] - labels["old"]))
    logger.info(
        "begins with the weights of %s %s: %s as there, %s anew",
        *(source.config.name, source.config.version, ", ".join(kept) or "no label", ", ".join(fresh) or "no label"),
    )


def check_width(source: Bundle, vectors: WordVectors) -> None:
    """Raise InputError if *vectors* are no input for the network of *source*."""
    if vectors.dim != source.vectors.dim:
        raise InputError(
            f"--vectors: expected a width of {source.vectors.dim}, as the bundle of --init has, got {vectors.dim};"
            " without --vectors, that bundle's are taken"
        )
