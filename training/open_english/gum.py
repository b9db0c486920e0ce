"""GUM, whose names a rule cut from its gold entities by head and part of speech: what the rule gets wrong.

A country that acts is an organisation to the rule ("United Kingdom"), a person keeps titles and offices ("U.S.
President Donald Trump"), a university with a campus is a place, and
numbered parts ("Figure 1") and addresses are other names.
"""

from __future__ import annotations

import re

from handler.labels import Span
from training.corpora import Sentence
from training.examples import OR
from training.open_english.adjectives import are_adjectives
from training.open_english.mends import TITLES, split_at
from training.open_english.repeated import Counts, clear_label

_TEACHES = frozenset(
    "University College School Academy Institute Institution Universidade Université Universidad".split()
)
_NUMBERED = re.compile(r"(?i)(?:figure|fig|table|factor|wave|appendix|section|chapter|part|step|case|experiment)s?")
_CUTS = frozenset({"in", "'s", "’s", "at"})
#: Where a person's name ends: "Fernando Cheung of the Labour Party".
_AFTER_PERSON = frozenset({"of", "and"})


def join_hyphens(sentence: Sentence) -> Sentence:
    """*sentence* with the words that GUM parts at a hyphen as one, as the server has them, unless an entity ends there.

    >>> join_hyphens(Sentence(("Ann", "Lee", "-", "Ross"), (Span(0, 4, "PER"),)))[:2]
    (('Ann', 'Lee-Ross'), (Span(start=0, end=2, label='PER'),))
    """
    edges = {edge for span in sentence.spans for edge in (span.start, span.end)}
    words: list[str] = []
    starts: list[int] = []  # index among the new words at which each old one begins
    old, joins = sentence.words, False
    for i, word in enumerate(old):
        is_hyphen = word == "-" and 0 < i < len(old) - 1 and old[i - 1][-1:].isalnum() and old[i + 1][:1].isalnum()
        if (is_hyphen and edges.isdisjoint((i, i + 1))) or joins:
            words[-1] += word
            joins = word == "-" and not joins
        else:
            words.append(word)
        starts.append(len(words) - 1)
    spans = tuple(Span(starts[span.start], starts[span.end - 1] + 1, span.label) for span in sentence.spans)
    return Sentence(tuple(words), spans)


def clean(sentence: Sentence, known: Counts) -> Sentence:
    """*sentence* with entities as CoNLL-2003 has them, as far as a rule and the *known* labels of names can tell.

    *known* counts the labels of names in other corpora.  Where they contradict a label and each other, it stays open;
    a MISC that is no nationality or the like may be no entity.
    """
    spans: list[Span] = []
    for span in sentence.spans:
        for part in split_at(sentence.words, span, _CUTS):
            if found := _cleaned(sentence.words, part, known, is_whole=part == span):
                spans.append(found)
    return sentence._replace(spans=tuple(spans))


def _cleaned(words: tuple[str, ...], span: Span, known: Counts, *, is_whole: bool) -> Span | None:
    span = _trimmed(words, span)
    named = words[span.start : span.end]
    if not any(word[:1].isupper() for word in named) or (len(named) == 1 and len(named[0]) == 1):
        return None
    if any("@" in word or "://" in word for word in named) or _NUMBERED.fullmatch(named[0]):
        return None
    if are_adjectives(named):
        return span._replace(label="MISC")
    label = clear_label(known.get(" ".join(named)), 2, 0.8)
    if label is None and _TEACHES.intersection(named) and span.label != "PER":
        label = "ORG"
    if label is None and span.label == "MISC":
        label = f"MISC{OR}O"
    elif label is None and not is_whole:
        label = OR.join(dict.fromkeys((span.label, "LOC", "ORG", "O")))
    return span._replace(label=label or span.label)


def _trimmed(words: tuple[str, ...], span: Span) -> Span:
    """*span* without articles, and a person's without titles and what stands before them, and what follows the name."""
    start, end = span.start, span.end
    if span.label == "PER":
        titles = [i for i in range(start, end) if words[i].lower().rstrip(".") in TITLES or words[i] == "Administrator"]
        start = titles[-1] + 1 if titles else start
        tail = [i for i in range(start + 1, end) if words[i] in _AFTER_PERSON]
        # "Leopold of Auchleuchries" is a name, "Cheung of the Labour Party" is not, and "Ann and Bob" are two
        end = next((i for i in tail if words[i] == "and" or words[i + 1 : i + 2] == ("the",)), end)
    while start < end and words[start].lower() in {"the", "a", "an", "of", "most"}:
        start += 1
    return span._replace(start=start, end=max(start, end))
