"""What is mended in each corpus: labels and boundaries that contradict the CoNLL-2003 definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from handler.labels import Span
from training.corpora import Sentence
from training.open_english.adjectives import are_adjectives

TITLES = frozenset(
    """
    mr mrs ms miss dr prof professor president vice deputy prime minister premier chancellor secretary foreign defense
    defence interior finance secretary-general general gen lt lieutenant lieutenant-general maj major col colonel brig
    brigadier capt captain cmdr commander sgt sergeant adm admiral marshal king queen prince princess emperor sultan
    sheikh pope cardinal archbishop bishop rev reverend father sister sir lord lady dame baron senator sen
    representative rep congressman congresswoman governor gov mayor judge justice chief ambassador envoy spokesman
    spokeswoman director chairman chairwoman speaker attorney former ex-president then-president
    """.split()
)


class Tally(Counter[str]):
    """How many entities of each corpus were mended, by what was done."""

    def compare(self, corpus: str, what: str, before: Sentence, after: Sentence) -> Sentence:
        """*after*, whose spans that *before* lacks are counted, and those that it lost and did not replace."""
        new, lost = set(after.spans) - set(before.spans), set(before.spans) - set(after.spans)
        if count := max(len(new), len(lost)):
            self[f"{corpus}: {what}"] += count
        return after


def corrections(demonyms: frozenset[str], countries: frozenset[str]) -> dict[str, Callable[[Sentence], Sentence]]:
    """The correction of each corpus that needs one, applied before its labels are mapped."""

    def gmb(sentence: Sentence) -> Sentence:
        spans = []
        for span in sentence.spans:
            if span.label == "per":
                start = without_titles(sentence.words, span)
                if start < span.end:
                    spans.append(Span(start, span.end, "per"))
            elif span.label == "gpe" and _name(sentence, span) in countries:
                spans.append(span._replace(label="geo"))
            else:
                spans.append(span)
        return sentence._replace(spans=tuple(spans))

    def docred(sentence: Sentence) -> Sentence:
        spans = (
            span._replace(label="MISC") if span.label == "LOC" and _name(sentence, span) in demonyms else span
            for span in sentence.spans
        )
        return sentence._replace(spans=tuple(spans))

    return {"gmb_kaggle": gmb, "docred": docred, "btc": join_handles}


def adjectives_to_misc(sentence: Sentence) -> Sentence:
    """*sentence* with the entities that are nationalities, religions and the like as MISC.

    >>> adjectives_to_misc(Sentence(("Muslim", "Labour"), (Span(0, 1, "ORG"), Span(1, 2, "ORG")))).spans
    (Span(start=0, end=1, label='MISC'), Span(start=1, end=2, label='ORG'))
    """
    return sentence._replace(
        spans=tuple(
            span._replace(label="MISC") if are_adjectives(sentence.words[span.start : span.end]) else span
            for span in sentence.spans
        )
    )


def without_adjectives(sentence: Sentence) -> Sentence:
    """*sentence* without entities that are nationalities, religions and the like, to score where MISC is no label."""
    spans = (span for span in sentence.spans if not are_adjectives(sentence.words[span.start : span.end]))
    return sentence._replace(spans=tuple(spans))


def _name(sentence: Sentence, span: Span) -> str:
    return " ".join(sentence.words[span.start : span.end]).lower()


def nationalities(sentences: Iterable[Sentence]) -> tuple[frozenset[str], frozenset[str]]:
    """Lower-cased names that are more often ``gpe`` (nationality) than ``geo`` (place), and those that are not."""
    counts = {"gpe": Counter[str](), "geo": Counter[str]()}
    for sentence in sentences:
        for span in sentence.spans:
            if span.label in counts:
                counts[span.label][_name(sentence, span)] += 1
    nationality, place = counts["gpe"], counts["geo"]
    return (
        frozenset(name for name in nationality if nationality[name] > place[name]),
        frozenset(name for name in nationality if place[name] >= nationality[name]),
    )


def without_titles(words: tuple[str, ...], span: Span) -> int:
    """The start of the name behind the titles of a person *span*; its end if there is no name."""
    start = span.start
    while start < span.end and words[start].lower().rstrip(".") in TITLES:
        start += 1
    return start


def join_handles(sentence: Sentence) -> Sentence:
    """*sentence* with ``@`` and the following handle as one word, which is in no entity.

    >>> spans = (Span(1, 2, "PER"), Span(2, 3, "PER"), Span(3, 4, "PER"))
    >>> join_handles(Sentence(("hi", "@", "ann", "Lee"), spans))[:2]
    (('hi', '@ann', 'Lee'), (Span(start=2, end=3, label='PER'),))
    """
    words: list[str] = []
    new_index: list[int] = []
    handles: set[int] = set()
    after_at = False
    for i, word in enumerate(sentence.words):
        if after_at:
            words[-1] += word
            handles |= {i - 1, i}
        else:
            words.append(word)
        after_at = word == "@" and not after_at and i + 1 < len(sentence.words)
        new_index.append(len(words) - 1)
    spans = [
        Span(new_index[span.start], new_index[span.end - 1] + 1, span.label)
        for span in sentence.spans
        if handles.isdisjoint(range(span.start, span.end))
    ]
    return Sentence(tuple(words), tuple(spans))


def split_at(words: tuple[str, ...], span: Span, separators: frozenset[str]) -> list[Span]:
    """The parts of *span* between its *separators*, empty ones left out.

    >>> split_at(("Sorbonne", "in", "Paris"), Span(0, 3, "ORG"), frozenset({"in"}))
    [Span(start=0, end=1, label='ORG'), Span(start=2, end=3, label='ORG')]
    """
    cuts = [i for i in range(span.start, span.end) if words[i] in separators]
    bounds = pairwise([span.start - 1, *cuts, span.end])
    return [Span(before + 1, after, span.label) for before, after in bounds if before + 1 < after]
