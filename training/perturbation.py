"""Perturbations of a sentence that keep its entities: lower case, capitals, headline case, broken spacing.

They augment training (``perturbations`` in the configuration) and measure robustness (``nerserve evaluate --perturb``);
see Mayhew et al. 2019, "ner and pos when nothing is capitalized", and Belinkov and Bisk 2018.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from types import MappingProxyType

from handler.labels import Span
from training.corpora import Sentence

#: Shares of words that broken spacing splits, and of spaces that it removes.
_SPLIT, _JOINED = 0.08, 0.04

Perturbation = Callable[[Sentence, random.Random], Sentence]


def lower(sentence: Sentence, _: random.Random) -> Sentence:
    """*sentence* in lower case."""
    return sentence._replace(words=tuple(word.lower() for word in sentence.words))


def upper(sentence: Sentence, _: random.Random) -> Sentence:
    """*sentence* in capitals."""
    return sentence._replace(words=tuple(word.upper() for word in sentence.words))


def title(sentence: Sentence, _: random.Random) -> Sentence:
    """*sentence* as a headline: every word begins with a capital."""
    return sentence._replace(words=tuple(word[:1].upper() + word[1:] for word in sentence.words))


def spacing(sentence: Sentence, chance: random.Random) -> Sentence:
    """*sentence* with some words split and some joined, as by OCR, but never across the boundary of an entity.

    >>> spacing(Sentence(("Barack", "Obama", "spoke"), (Span(0, 2, "PER"),)), random.Random(40))[:2]
    (('Barack', 'Oba', 'ma', 'spoke'), (Span(start=0, end=3, label='PER'),))
    """
    edges = {edge for span in sentence.spans for edge in (span.start, span.end)}
    words: list[str] = []
    starts: list[int] = []  # index among the new words at which each old one begins
    run_together: set[int] = set()
    for i, word in enumerate(sentence.words):
        starts.append(len(words))
        if words and i not in edges and chance.random() < _JOINED:
            starts[-1] -= 1
            words[-1] += word
            run_together.add(i)
        elif len(word) > 3 and chance.random() < _SPLIT:
            cut = chance.randrange(1, len(word))
            words += [word[:cut], word[cut:]]
        else:
            words.append(word)
    starts.append(len(words))
    return Sentence(
        tuple(words),
        tuple(Span(starts[s.start], starts[s.end], s.label) for s in sentence.spans),
        joined=tuple(starts[i] for i in sentence.joined if i not in run_together),
        ended=tuple(starts[i] for i in sentence.ended if i not in run_together),
    )


#: By their names in the configuration and in ``nerserve evaluate --perturb``.
PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {"lower": lower, "upper": upper, "title": title, "spacing": spacing}
)

#: Those that keep the word boundaries, so that the tags stay the same.
KEEPS_WORDS = frozenset({"lower", "upper", "title"})


def draw(shares: Mapping[str, float], chance: random.Random) -> str | None:
    """The name of a random perturbation, each with the probability in *shares*, else None.

    >>> draw({"lower": 0.0, "upper": 1.0}, random.Random(0))
    'upper'
    """
    names = list(shares)
    place = bisect_right(list(accumulate(shares.values())), chance.random())
    return names[place] if place < len(names) else None
