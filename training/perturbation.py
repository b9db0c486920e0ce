"""Text as it comes when it is not edited: in lower case, in capitals, as a headline, with broken spacing.

Each perturbation takes a sentence and gives the same sentence in another guise, its entities kept.  Training sees
some sentences so (``perturbations`` in the configuration); dev files seen so show what a model can bear
(Mayhew et al. 2019, "ner and pos when nothing is capitalized"; Belinkov and Bisk 2018).
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from types import MappingProxyType

from handler.labels import Span
from training.corpora import Sentence

#: Share of words that broken spacing cuts in two, and of gaps that it closes.
_CUT, _JOINED = 0.08, 0.04

Perturbation = Callable[[Sentence, random.Random], Sentence]


def lower(sentence: Sentence, _: random.Random) -> Sentence:
    """*Sentence* in lower case."""
    return sentence._replace(words=tuple(word.lower() for word in sentence.words))


def upper(sentence: Sentence, _: random.Random) -> Sentence:
    """*Sentence* in capitals."""
    return sentence._replace(words=tuple(word.upper() for word in sentence.words))


def title(sentence: Sentence, _: random.Random) -> Sentence:
    """*Sentence* as a headline: every word begins with a capital."""
    return sentence._replace(words=tuple(word[:1].upper() + word[1:] for word in sentence.words))


def spacing(sentence: Sentence, chance: random.Random) -> Sentence:
    """*Sentence* as OCR may leave it: some words cut in two, some run together; never across the edge of an entity.

    >>> spacing(Sentence(("Barack", "Obama", "spoke"), (Span(0, 2, "PER"),)), random.Random(40))[:2]
    (('Barack', 'Oba', 'ma', 'spoke'), (Span(start=0, end=3, label='PER'),))
    """
    edges = {edge for span in sentence.spans for edge in (span.start, span.end)}
    words: list[str] = []
    starts: list[int] = []  # where each old word begins among the new ones
    run_together: set[int] = set()
    for i, word in enumerate(sentence.words):
        starts.append(len(words))
        if words and i not in edges and chance.random() < _JOINED:
            starts[-1] -= 1
            words[-1] += word
            run_together.add(i)
        elif len(word) > 3 and chance.random() < _CUT:
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


#: By the name that the configuration and ``nerserve evaluate --perturb`` know them under.
PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {"lower": lower, "upper": upper, "title": title, "spacing": spacing}
)

#: Those that keep the words one by one, so that tags of the sentence as it was still fit.
KEEPS_WORDS = frozenset({"lower", "upper", "title"})


def draw(shares: Mapping[str, float], chance: random.Random) -> str | None:
    """The name of a perturbation, each as often as its share says, or None.

    >>> draw({"lower": 0.0, "upper": 1.0}, random.Random(0))
    'upper'
    """
    names = list(shares)
    place = bisect_right(list(accumulate(shares.values())), chance.random())
    return names[place] if place < len(names) else None
