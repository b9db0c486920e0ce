"""The plots show the numbers that they are given, hold for odd ones, and are the same bytes every time."""

import io

import matplotlib.image
import pytest

from training.reports import plots
from training.reports.analysis import FAMILIARITIES, MISSED, OVERLAPPED, SPURIOUS, LengthGroup, Share
from training.scoring.calibration import Bin
from training.scoring.evaluation import Evaluation, Score


def entry(epoch, loss, best_epoch, **dev):
    return {
        "epoch": epoch,
        "loss": loss,
        "dev_f1": sum(dev.values()) / len(dev),
        "dev": {name: {"f1": f1} for name, f1 in dev.items()},
        "best_epoch": best_epoch,
    }


LOG = [entry(1, 0.9, 1, news=0.5, web=0.3), entry(2, 0.4, 2, news=0.7, web=0.4), entry(3, 0.3, 2, news=0.6, web=0.4)]
SCORES = Evaluation(Score(6, 8, 10), {"PER": Score(5, 6, 6), "LOC": Score(1, 2, 4)})
CONFUSION = {
    ("PER", "PER"): 5,
    ("PER", MISSED): 1,
    ("LOC", "LOC"): 1,
    ("LOC", "PER"): 1,
    ("LOC", OVERLAPPED): 2,
    (SPURIOUS, "LOC"): 3,
}
BINS = [Bin(0.2, 0.4, 10, 0.3, 0.2), Bin(0.8, 1.0, 90, 0.95, 0.9)]
GROUPS = [LengthGroup(1, 5, 7, Score(1, 2, 2)), LengthGroup(51, None, 2, Score(3, 4, 4))]
FAMILIARITY = {
    "LOC": dict(zip(FAMILIARITIES, (Share(3, 4), Share(0, 0), Share(1, 4)), strict=True)),
    "PER": dict(zip(FAMILIARITIES, (Share(1, 4), Share(1, 2), Share(0, 0)), strict=True)),
}

MAKE = {
    "learning_curve": lambda: plots.learning_curve(LOG),
    "label_scores": lambda: plots.label_scores(SCORES),
    "confusion_matrix": lambda: plots.confusion_matrix(CONFUSION),
    "reliability_diagram": lambda: plots.reliability_diagram(BINS, 0.05),
    "f1_by_length": lambda: plots.f1_by_length(GROUPS),
    "recall_by_familiarity": lambda: plots.recall_by_familiarity(FAMILIARITY),
}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def rows(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_plot_is_the_same_bytes_every_time_and_says_what_it_shows(make):
    png, svg = plots.rendered(make())

    assert (png, svg) == plots.rendered(make())
    assert b"<dc:date>" not in svg
    height, width, _ = matplotlib.image.imread(io.BytesIO(png)).shape
    assert width >= 1000
    assert height >= 400
    figure = make()
    assert figure.axes[0].get_title(loc="left")
    assert all(axes.get_ylabel() or rows(axes) for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()


def test_the_learning_curve_marks_the_best_epoch():
    above, below = plots.learning_curve(LOG).axes

    assert list(above.lines[0].get_ydata()) == [0.9, 0.4, 0.3]
    lines = {line.get_label(): line for line in below.lines}
    assert list(lines["news"].get_ydata()) == [0.5, 0.7, 0.6]
    assert list(lines["mean, which decides"].get_ydata()) == pytest.approx([0.4, 0.55, 0.5])
    assert lines["best epoch"].get_xydata().tolist() == [[2, pytest.approx(0.55)]]
    assert above.get_title(loc="left") == "Learning curve: best in epoch 2, with a dev F1 of 55.0%"


def test_one_corpus_is_its_own_mean():
    _, below = plots.learning_curve([entry(1, 0.9, 1, news=0.5)]).axes

    assert "mean, which decides" not in {line.get_label() for line in below.lines}


def test_bars_are_the_scores_of_each_label():
    (axes,) = plots.label_scores(SCORES).axes

    assert rows(axes) == ["LOC\n4 gold", "PER\n6 gold", "micro average\n10 gold", "macro average"]
    precision, recall, f1 = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert precision == pytest.approx([1 / 2, 5 / 6, 6 / 8, (1 / 2 + 5 / 6) / 2])
    assert recall == pytest.approx([1 / 4, 5 / 6, 6 / 10, (1 / 4 + 5 / 6) / 2])
    assert f1[2] == pytest.approx(12 / 18)


def test_a_row_of_the_confusion_matrix_holds_what_became_of_a_label():
    (axes,) = plots.confusion_matrix(CONFUSION).axes

    assert rows(axes) == ["LOC\n4", "PER\n6", "spurious\n3"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["LOC", "PER", "other\nboundaries", "missed"]
    assert texts(axes) == [
        "1\n25.0%", "1\n25.0%", "2\n50.0%", "0",
        "0", "5\n83.3%", "0", "1\n16.7%",
        "3\n100.0%", "0",
    ]  # fmt: skip


def test_the_reliability_diagram_shows_every_bin_and_its_count():
    above, below = plots.reliability_diagram(BINS, 0.05).axes

    (points,) = above.containers
    assert points.lines[0].get_xydata().tolist() == [[0.3, 0.2], [0.95, 0.9]]
    assert [bar.get_height() for bar in below.containers[0]] == [10, 90]
    assert texts(below) == ["10", "90"]
    assert "5.0%" in above.get_title(loc="left")


def test_lengths_have_their_counts():
    (axes,) = plots.f1_by_length(GROUPS).axes

    assert [bar.get_height() for bar in axes.patches] == [0.5, 0.75]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "1\N{EN DASH}5\n7 sentences\n2 entities",
        "over 50\n2 sentences\n4 entities",
    ]


def test_recall_is_shown_where_there_are_entities():
    (axes,) = plots.recall_by_familiarity(FAMILIARITY).axes

    assert rows(axes) == ["all labels", "LOC", "PER"]
    assert texts(axes) == ["50% of 8", "75% of 4", "25% of 4", "50% of 2", "50% of 2", "25% of 4", "25% of 4"]


NOTHING = dict.fromkeys(FAMILIARITIES, Share(0, 0))
MANY = [f"LABEL-{i}" for i in range(20)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: plots.reliability_diagram([], 0.0),  # a model that finds nothing
        lambda: plots.confusion_matrix({("PER", MISSED): 3}),
        lambda: plots.confusion_matrix({(label, label): 12345 for label in MANY}),
        lambda: plots.label_scores(Evaluation(Score(0, 0, 3), {"PER": Score(0, 0, 3)})),
        lambda: plots.label_scores(Evaluation(Score(20, 20, 20), dict.fromkeys(MANY, Score(1, 1, 1)))),
        lambda: plots.recall_by_familiarity({"PER": NOTHING | {"unseen": Share(0, 3)}}),
        lambda: plots.recall_by_familiarity(dict.fromkeys(MANY, NOTHING | {"same label": Share(1, 1)})),
        lambda: plots.learning_curve([entry(1, 0.5, 1, **{f"corpus_{i}$x$": i / 12 for i in range(12)})]),
    ],
)
def test_odd_numbers_are_no_problem(make, recwarn):
    png, svg = plots.rendered(make())

    assert png.startswith(b"\x89PNG")
    assert svg.startswith(b"<?xml")
    own = [warning for warning in recwarn if warning.category is not ResourceWarning]  # an earlier test's, perhaps
    assert [str(warning.message) for warning in own] == []


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_intervals_are_those_of_the_literature(part, whole, low, high):
    """The last is in Newcombe (1998, "Two-sided confidence intervals for the single proportion"), table I."""
    assert plots.wilson_interval(part, whole) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
