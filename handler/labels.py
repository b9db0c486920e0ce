"""Tags and spans: the BIO and IOBES schemes and their well-formed sequences.

A *label* is ``"PER"``, a *prefix* ``"B"``, a *tag* ``"B-PER"``.  BIO is the
IOB2 of Tjong Kim Sang and Veenstra (1999, "Representing Text Chunks"): every
entity starts with B.  IOBES (the BILOU of Ratinov and Roth 2009) also marks
the last token (E) and entities of one token (S).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

Scheme = Literal["BIO", "IOBES"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_PREFIXES: dict[Scheme, str] = {"BIO": "BI", "IOBES": "BIES"}
_OPENS = {"BIO": "B", "IOBES": "BS"}  # may start an entity
_CLOSES = {"BIO": "BI", "IOBES": "ES"}  # may end one


class Span(NamedTuple):
    """An entity over tokens, half-open: ``tokens[start:end]``."""

    start: int
    end: int
    label: str


class TagRules(NamedTuple):
    """True for allowed tags: ``start`` (K,), ``transitions[i][j]`` (K, K) for *j* directly after *i*, ``end`` (K,)."""

    start: list[bool]
    transitions: list[list[bool]]
    end: list[bool]


def tag_set(labels: Iterable[str], scheme: Scheme) -> list[str]:
    """All tags of *labels*, ``"O"`` first; a tag's index is its id.

    >>> tag_set(["PER", "LOC"], "BIO")
    ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
    """
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in _PREFIXES[scheme])]


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and label of *tag*; ``"O"`` has an empty label.

    >>> split_tag("B-creative-work")
    ('B', 'creative-work')
    """
    prefix, _, label = tag.partition("-")
    return prefix, label


def may_follow(before: str, after: str, scheme: Scheme) -> bool:
    """True if tag *after* may follow tag *before* directly.

    >>> may_follow("B-PER", "O", "IOBES"), may_follow("B-PER", "O", "BIO")
    (False, True)
    """
    before_prefix, before_label = split_tag(before)
    after_prefix, after_label = split_tag(after)
    continues = after_prefix in {"I", "E"}
    if scheme == "BIO":
        return not continues or (before_prefix in {"B", "I"} and before_label == after_label)
    is_open = before_prefix in {"B", "I"}
    return is_open == continues and (not continues or before_label == after_label)


def tag_rules(tags: Sequence[str], scheme: Scheme) -> TagRules:
    """The rules of *scheme* by the ids of *tags*.

    >>> tag_rules(["O", "B-PER", "I-PER"], "BIO").start
    [True, True, False]
    """
    return TagRules(
        start=[tag == "O" or tag[0] in _OPENS[scheme] for tag in tags],
        transitions=[[may_follow(before, after, scheme) for after in tags] for before in tags],
        end=[tag == "O" or tag[0] in _CLOSES[scheme] for tag in tags],
    )


def span_tags(label: str, length: int, scheme: Scheme) -> list[str]:
    """The tags of one entity of *length* tokens.

    >>> span_tags("LOC", 1, "IOBES"), span_tags("LOC", 3, "IOBES")
    (['S-LOC'], ['B-LOC', 'I-LOC', 'E-LOC'])
    """
    if scheme == "BIO":
        return [f"B-{label}"] + [f"I-{label}"] * (length - 1)
    if length == 1:
        return [f"S-{label}"]
    return [f"B-{label}", *[f"I-{label}"] * (length - 2), f"E-{label}"]


def spans_to_tags(spans: Iterable[Span], num_tokens: int, scheme: Scheme) -> list[str]:
    """Tags of *num_tokens* tokens with *spans*, which must not overlap.

    >>> spans_to_tags([Span(1, 3, "PER")], 4, "IOBES")
    ['O', 'B-PER', 'E-PER', 'O']

    Raises:
        ValueError: a span is empty, leaves the sentence or overlaps another.
    """
    tags = ["O"] * num_tokens
    for span in spans:
        if not 0 <= span.start < span.end <= num_tokens:
            raise ValueError(f"expected a span within {num_tokens} tokens, got [{span.start}, {span.end})")
        if any(tag != "O" for tag in tags[span.start : span.end]):
            raise ValueError(f"expected spans that do not overlap, [{span.start}, {span.end}) does")
        tags[span.start : span.end] = span_tags(span.label, span.end - span.start, scheme)
    return tags


def tags_to_spans(tags: Sequence[str], scheme: Scheme = "IOBES") -> list[Span]:
    """Read well-formed entities off *tags*; a broken one is dropped, not repaired.

    >>> tags_to_spans(["S-LOC", "O", "B-PER", "E-PER"])
    [Span(start=0, end=1, label='LOC'), Span(start=2, end=4, label='PER')]
    >>> tags_to_spans(["B-LOC", "O", "I-PER"], "BIO")
    [Span(start=0, end=1, label='LOC')]
    """
    spans: list[Span] = []
    start: int | None = None
    for i, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        if prefix in {"B", "S"}:
            start = i
        elif start is None or label != split_tag(tags[start])[1]:
            start = None  # O, or a continuation of nothing
            continue
        following = split_tag(tags[i + 1]) if i + 1 < len(tags) else ("O", "")
        closes = following != ("I", label) if scheme == "BIO" else prefix in {"E", "S"}
        if closes:
            spans.append(Span(start, i + 1, label))
            start = None
    return spans
