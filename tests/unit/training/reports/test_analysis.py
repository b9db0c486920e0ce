"""What is counted for plots and tables, on a table made by hand."""

import pytest

from handler.labels import Span
from handler.tagger import ScoredSpan
from training.corpora import Sentence
from training.reports.analysis import (
    MISSED,
    OVERLAPPED,
    SPURIOUS,
    LengthGroup,
    Share,
    by_familiarity,
    by_length,
    confusion,
    surface_forms,
)
from training.scoring.evaluation import Score, TaggedSentence


def tagged(num_words, gold, found):
    """A sentence of w0, w1, ...; *gold* and *found* are (start, end, label)."""
    words = tuple(f"w{i}" for i in range(num_words))
    return TaggedSentence(
        words, tuple(Span(*span) for span in gold), tuple(ScoredSpan(Span(*span), 0.5) for span in found)
    )


HAND = [
    tagged(4, [(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER"), (3, 4, "ORG")]),  # right; another label
    tagged(9, [(1, 3, "PER"), (5, 6, "LOC")], [(2, 3, "PER"), (7, 8, "LOC")]),  # other bounds; missed and spurious
    tagged(9, [(0, 3, "ORG")], [(0, 1, "LOC"), (1, 2, "PER")]),  # two across one: one of them is spurious
    tagged(30, [], []),
]


def test_confusion_counts_every_gold_entity_once_and_what_is_spurious():
    counts = confusion(HAND)

    assert counts == {
        ("PER", "PER"): 1,
        ("LOC", "ORG"): 1,
        ("PER", OVERLAPPED): 1,
        ("LOC", MISSED): 1,
        (SPURIOUS, "LOC"): 1,
        ("ORG", OVERLAPPED): 1,
        (SPURIOUS, "PER"): 1,
    }
    assert sum(count for (there, _), count in counts.items() if there != SPURIOUS) == sum(len(row.gold) for row in HAND)


@pytest.mark.parametrize(
    ("bounds", "groups"),
    [
        ((4, 9, 29), [(1, 4, 1, (1, 2, 2)), (5, 9, 2, (0, 4, 3)), (30, None, 1, (0, 0, 0))]),
        ((3, 8), [(4, 8, 1, (1, 2, 2)), (9, None, 3, (0, 4, 3))]),
    ],
)
def test_sentences_are_grouped_by_length_and_empty_groups_left_out(bounds, groups):
    assert by_length(HAND, bounds) == [LengthGroup(low, high, n, Score(*score)) for low, high, n, score in groups]


def test_recall_is_counted_by_how_training_knew_the_words():
    trained_on = surface_forms(
        [
            Sentence(("w0", "w1", "w3"), (Span(0, 2, "PER"), Span(2, 3, "PER"))),
            Sentence(("w5",), (Span(0, 1, "LOC"),)),
            Sentence(("w5",), (Span(0, 1, "ORG|O"),)),  # it may be one
        ]
    )

    assert by_familiarity(HAND, trained_on) == {
        "LOC": {"same label": Share(0, 1), "other label": Share(0, 1), "unseen": Share(0, 0)},
        "ORG": {"same label": Share(0, 0), "other label": Share(0, 0), "unseen": Share(0, 1)},
        "PER": {"same label": Share(1, 1), "other label": Share(0, 0), "unseen": Share(0, 1)},
    }
