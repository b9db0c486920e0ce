"""What is found in a text; no torch needed."""

from __future__ import annotations

from typing import NamedTuple


class Entity(NamedTuple):
    """A named entity: ``text == given_text[start:end]``, half-open code-point offsets.

    ``score`` is the calibrated marginal probability of exactly this span with
    this label, in [0, 1]; of a bundle without a calibration, the CRF's own
    marginal probability.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


class TokenWeight(NamedTuple):
    """A token of an entity's sentence, and by how much the log-odds of the entity's score fall without it."""

    text: str
    start: int
    end: int
    weight: float


class TaggedText(NamedTuple):
    """The entities of a text, in text order; ``num_unseen`` of its tokens have no pretrained vector of their own."""

    entities: list[Entity]
    num_tokens: int
    num_unseen: int
