"""Tags and spans against enumeration of all short sequences."""

import itertools
import re

import pytest

from handler.labels import Span, may_follow, span_tags, spans_to_tags, tag_rules, tag_set, tags_to_spans

LABELS = ["PER", "LOC"]

#: The schemes once more, as regular expressions over one character a tag: an oracle that shares no code.
GRAMMARS = {
    "BIO": r"(?:o|bi*|Bx*)*",
    "IOBES": r"(?:o|s|S|bi*e|Bx*X)*",
}
LETTERS = {
    "BIO": {"o": "O", "b": "B-PER", "i": "I-PER", "B": "B-LOC", "x": "I-LOC"},
    "IOBES": {
        "o": "O", "b": "B-PER", "i": "I-PER", "e": "E-PER", "s": "S-PER",
        "B": "B-LOC", "x": "I-LOC", "X": "E-LOC", "S": "S-LOC",
    },
}  # fmt: skip


def sequences(scheme, length):
    for letters in itertools.product(LETTERS[scheme], repeat=length):
        yield "".join(letters), [LETTERS[scheme][letter] for letter in letters]


@pytest.mark.parametrize("scheme", GRAMMARS)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_tag_rules_allow_the_sequences_of_the_grammar_and_no_others(scheme, length):
    tags = tag_set(LABELS, scheme)
    rules = tag_rules(tags, scheme)

    allowed = {
        letters
        for letters, sequence in sequences(scheme, length)
        if rules.start[tags.index(sequence[0])]
        and rules.end[tags.index(sequence[-1])]
        and all(rules.transitions[tags.index(a)][tags.index(b)] for a, b in itertools.pairwise(sequence))
    }

    assert allowed == {letters for letters, _ in sequences(scheme, length) if re.fullmatch(GRAMMARS[scheme], letters)}


@pytest.mark.parametrize("scheme", GRAMMARS)
def test_tags_to_spans_and_back_is_the_identity_on_well_formed_tags(scheme):
    well_formed = [tags for letters, tags in sequences(scheme, 4) if re.fullmatch(GRAMMARS[scheme], letters)]

    again = [spans_to_tags(tags_to_spans(tags, scheme), 4, scheme) for tags in well_formed]

    assert again == well_formed
    assert len(well_formed) > 50


@pytest.mark.parametrize(
    ("scheme", "tags", "spans"),
    [
        ("BIO", ["I-PER", "O"], []),
        ("BIO", ["B-PER", "I-LOC"], [Span(0, 1, "PER")]),
        ("BIO", ["B-PER", "B-PER"], [Span(0, 1, "PER"), Span(1, 2, "PER")]),
        ("BIO", ["B-PER", "I-PER", "I-PER"], [Span(0, 3, "PER")]),
        ("IOBES", ["B-PER", "O", "E-PER"], []),
        ("IOBES", ["B-PER", "E-LOC"], []),
        ("IOBES", ["B-PER", "I-PER"], []),
        ("IOBES", ["B-PER", "S-LOC"], [Span(1, 2, "LOC")]),
        ("IOBES", ["E-PER", "S-PER", "S-PER"], [Span(1, 2, "PER"), Span(2, 3, "PER")]),
        ("IOBES", [], []),
    ],
)
def test_tags_to_spans_drops_what_is_broken(scheme, tags, spans):
    assert tags_to_spans(tags, scheme) == spans


def test_a_continuation_needs_its_own_label():
    assert not may_follow("B-PER", "I-LOC", "BIO")
    assert not may_follow("B-PER", "E-LOC", "IOBES")


@pytest.mark.parametrize(
    ("scheme", "length", "tags"),
    [("BIO", 1, ["B-X"]), ("BIO", 2, ["B-X", "I-X"]), ("IOBES", 1, ["S-X"]), ("IOBES", 2, ["B-X", "E-X"])],
)
def test_span_tags_of_short_entities(scheme, length, tags):
    assert span_tags("X", length, scheme) == tags


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([Span(0, 0, "PER")], "within"),
        ([Span(2, 4, "PER")], "within"),
        ([Span(-1, 1, "PER")], "within"),
        ([Span(0, 2, "PER"), Span(1, 3, "LOC")], "do not overlap"),
    ],
)
def test_spans_that_no_tags_can_say_are_refused(spans, problem):
    with pytest.raises(ValueError, match=problem):
        spans_to_tags(spans, 3, "BIO")
