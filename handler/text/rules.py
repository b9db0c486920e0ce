"""The numbers of the rules by which a text becomes tokens, sentences and documents.

A model is trained on what they make of its texts, so that its ``config.json`` has their numbers, and code with other
rules refuses it.  Whoever changes what a rule does counts its number up; ``nerserve renew`` brings bundles up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: ``tokens``: words, and the full stops that end a sentence; ``lines``: which line ends do; ``documents``: what the
#: sentences of one text learn from each other.
TEXT_RULES: Mapping[str, int] = MappingProxyType({"tokens": 2, "lines": 2, "documents": 1})
