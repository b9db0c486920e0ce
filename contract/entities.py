"""What a reply is made of, and the sentence that asks whether a model answers at all."""

from __future__ import annotations

from typing import NamedTuple

CANARY_TEXT = "Barack Obama was born in Hawaii."
"""Sent where any answer will do as a sign of life."""


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


class Elsewhere(NamedTuple):
    """Why an entity is not as its sentence alone has it.

    Attributes:
        alone: The entity that its sentence alone has in this place; None if there is none.
        mentions: The mentions in the rest of the text that decided, each as its sentence alone has it.
    """

    alone: Entity | None
    mentions: list[Entity]


class Explanation(NamedTuple):
    """Why an entity was found: the tokens of its sentence, and the rest of the text where that changed anything."""

    tokens: list[TokenWeight]
    elsewhere: Elsewhere | None = None


class ModelInfo(NamedTuple):
    """Which model answered; ``digest`` is the SHA-256 over every byte of it, as ``sha256:...``."""

    name: str
    version: str
    digest: str
