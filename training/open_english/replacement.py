"""Organisations of gold sentences replaced by others, so that a model learns the sentence and not the name.

See Dai and Adel 2020, "An Analysis of Simple Data Augmentation for Named Entity Recognition" (mention replacement).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from handler.labels import Span
from handler.text.tokens import tokenize
from training.corpora import Sentence
from training.open_english.names import Names

#: How often a sentence is replaced, and with what probability each organisation of it.
VERSIONS, _SHARE = 3, 0.8

_TEACHES = frozenset("university college school academy institute polytechnic".split())
_KINDS = {
    "teaching": ("university", "university", "school"),
    "article": ("society", "society", "team", "paper", "society"),
    "other": ("firm", "firm", "firm", "firm", "club", "university", "band", "school", "society", "hyphened"),
}


def replaced(sentences: Iterable[Sentence], names: Names, chance: random.Random) -> Iterator[Sentence]:
    """Versions of those *sentences* that have an organisation, each with other organisations drawn from *names*."""
    for sentence in sentences:
        if any(span.label == "ORG" for span in sentence.spans):
            for _ in range(VERSIONS):
                yield replace_organisations(sentence, names, chance)


def replace_organisations(sentence: Sentence, names: Names, chance: random.Random) -> Sentence:
    """*sentence* with some organisations replaced; one that stands in it twice is the same again.

    A school becomes a school, and behind an article stands what has one.  Letter case is kept; all other entities are.
    """
    words: list[str] = []
    spans: list[Span] = []
    drawn: dict[str, tuple[str, ...]] = {}
    last = 0
    for span in sentence.spans:
        words += sentence.words[last : span.start]
        last = span.end
        mention = sentence.words[span.start : span.end]
        if span.label == "ORG" and chance.random() < _SHARE:
            name = " ".join(mention)
            if name not in drawn:
                drawn[name] = _like(mention, sentence.words[span.start - 1] if span.start else "", names, chance)
            mention = drawn[name]
        spans.append(Span(len(words), len(words) + len(mention), span.label))
        words += mention
    words += sentence.words[last:]
    return Sentence(tuple(words), tuple(spans))


def _like(mention: tuple[str, ...], before: str, names: Names, chance: random.Random) -> tuple[str, ...]:
    """The words of another name in the place of *mention*, which stands behind the word *before*."""
    if _TEACHES.intersection(word.lower() for word in mention):
        kinds = _KINDS["teaching"]
    else:
        kinds = _KINDS["article" if before.lower() == "the" else "other"]
    name = names.draw(chance.choice(kinds), chance)
    text = " ".join(mention)
    if text.isupper() and len(text) > 5:
        name = name.upper()
    elif text.islower():
        name = name.lower()
    return tuple(tokenize(name).words)
