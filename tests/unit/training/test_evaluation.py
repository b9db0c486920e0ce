"""Scores against conlleval, the port of the shared tasks' own script, and a table made by hand."""

import conlleval
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.labels import Span, tags_to_spans
from training.evaluation import Score, score_spans, table

HAND_GOLD = [[Span(0, 2, "PER"), Span(4, 5, "LOC")], [Span(0, 1, "ORG")], []]
HAND_FOUND = [[Span(0, 2, "PER"), Span(4, 6, "LOC")], [Span(0, 1, "LOC")], [Span(2, 3, "PER")]]


def test_scores_of_a_table_made_by_hand():
    evaluation = score_spans(HAND_GOLD, HAND_FOUND)

    assert evaluation.labels == {"LOC": Score(0, 2, 1), "ORG": Score(0, 0, 1), "PER": Score(1, 2, 1)}
    assert evaluation.micro == Score(1, 4, 3)
    assert (evaluation.micro.precision, evaluation.micro.recall) == (1 / 4, 1 / 3)
    assert evaluation.micro.f1 == pytest.approx(2 / 7)


sentence = st.lists(
    st.tuples(*[st.sampled_from(["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"])] * 2), min_size=1, max_size=12
)


def well_formed(tags):
    """*Tags* with every I that continues nothing turned into B: what conlleval reads without repairing it."""
    fixed = []
    for tag in tags:
        continues = bool(fixed) and fixed[-1][1:] == tag[1:] and fixed[-1] != "O"
        fixed.append(f"B{tag[1:]}" if tag[0] == "I" and not continues else tag)
    return fixed


@given(st.lists(sentence, min_size=1, max_size=8))
def test_scores_agree_with_conlleval(sentences):
    gold = [well_formed([gold for gold, _ in rows]) for rows in sentences]
    found = [well_formed([found for _, found in rows]) for rows in sentences]
    lines = [
        line
        for gold_tags, found_tags in zip(gold, found, strict=True)
        for line in [*(f"w {g} {f}" for g, f in zip(gold_tags, found_tags, strict=True)), ""]
    ]

    micro = score_spans(*([tags_to_spans(tags, "BIO") for tags in side] for side in (gold, found))).micro

    expected = conlleval.evaluate(lines)["overall"]["chunks"]
    assert micro._asdict() == {
        "correct": expected["stats"]["correct"],
        "predicted": expected["stats"]["pred"],
        "gold": expected["stats"]["gold"],
    }
    if micro.gold and micro.predicted:  # where there is nothing, conlleval says 1 and we say 0
        assert micro.precision == pytest.approx(expected["evals"]["prec"])
        assert micro.recall == pytest.approx(expected["evals"]["rec"])
        assert micro.f1 == pytest.approx(expected["evals"]["f1"])


def test_only_some_labels_may_count():
    assert score_spans(HAND_GOLD, HAND_FOUND, {"PER"}).micro == Score(1, 2, 1)


def test_nothing_to_find_scores_nothing():
    assert score_spans([[]], [[]]).micro == Score(0, 0, 0)
    assert score_spans([[]], [[]]).micro.f1 == 0


def test_the_table_lines_up():
    lines = table(score_spans(HAND_GOLD, HAND_FOUND)).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["micro", "25.00%", "33.33%", "28.57%", "3", "4"]
