"""The plots of a training run; the same numbers give the same bytes.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which the colour-blind can tell apart, and never
the only distinction.  Error bars are 95% Wilson intervals (1927), which are valid for small counts too.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from training.reports.analysis import (
    FAMILIARITIES,
    MISSED,
    OVERLAPPED,
    SPURIOUS,
    Familiarity,
    LengthGroup,
    Share,
    confused_labels,
    with_all_labels,
)
from training.scoring.calibration import Bin
from training.scoring.evaluation import Average, Evaluation, Score

_BLUE, _ORANGE, _GREEN, _SKY, _PURPLE, _VERMILION = "#0072B2 #E69F00 #009E73 #56B4E9 #CC79A7 #D55E00".split()
_SERIES, _MARKERS = (_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY), "os^Dv<>"
_INK, _GREY, _PALE = "#222222", "#666666", "#DDDDDD"

_STYLE: Any = {  # Any: matplotlib's type lists every key
    "axes.axisbelow": True,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 160,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "grid.color": _PALE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "nerserve",
    "text.parse_math": False,  # a name may hold dollar signs
    "text.color": _INK,
    "xtick.color": _GREY,
    "xtick.labelcolor": _INK,
    "ytick.color": _GREY,
    "ytick.labelcolor": _INK,
}

_WIDTH = 7.0  # inches
_Z95 = 1.959964


def wilson_interval(part: int, whole: int) -> tuple[float, float]:
    """95% confidence interval of the share *part* of *whole*.

    >>> low, high = wilson_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    share, weight = part / whole, _Z95**2 / whole
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)


def rendered(figure: Figure) -> tuple[bytes, bytes]:
    """*figure* as PNG and as SVG."""
    png, svg = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return png.getvalue(), svg.getvalue()


def learning_curve(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Training loss and dev F1 by epoch, with the best epoch marked; *log* is ``log.jsonl``."""
    epochs = [entry["epoch"] for entry in log]
    best = log[log[-1]["best_epoch"] - 1]
    with _styled(5.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        losses = [entry["loss"] for entry in log]
        above.plot(epochs, losses, color=_INK, marker="o", markersize=3.5)
        above.set(
            title=f"Learning curve: best in epoch {best['epoch']}, with a dev F1 of {best['dev_f1']:.1%}",
            ylabel="training loss\n(nats per token)", ylim=(0, 1.08 * max(losses)),
        )  # fmt: skip
        names = sorted(best["dev"], key=lambda name: -log[-1]["dev"][name]["f1"])  # in the order of the lines' ends
        for i, name in enumerate(names):
            below.plot(
                epochs, [entry["dev"][name]["f1"] for entry in log], label=name, linestyle="--", linewidth=1.2,
                color=_SERIES[i % len(_SERIES)], marker=_MARKERS[i % len(_MARKERS)], markersize=4,
            )  # fmt: skip
        if len(names) > 1:
            mean = [entry["dev_f1"] for entry in log]
            below.plot(epochs, mean, label="mean, which decides", color=_INK, linewidth=2.2)
        below.plot(
            best["epoch"], best["dev_f1"], label="best epoch", linestyle="", marker="*", markersize=13,
            color=_VERMILION, markeredgecolor="white", clip_on=False, zorder=3,
        )  # fmt: skip
        for axes in (above, below):
            axes.axvline(best["epoch"], color=_VERMILION, linewidth=1, linestyle=":", zorder=0)
        below.set(xlabel="epoch", ylabel="dev F1 (micro)")
        below.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        below.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def label_scores(evaluation: Evaluation) -> Figure:
    """Precision, recall and F1 of each label, and their averages."""
    micro = evaluation.micro
    rows: list[tuple[str, Score | Average]] = [
        *((f"{label}\n{score.gold:,} gold", score) for label, score in sorted(evaluation.labels.items())),
        (f"micro average\n{micro.gold:,} gold", micro),
        ("macro average", evaluation.macro),
    ]
    with _styled(1.2 + 0.62 * len(rows)) as figure:
        axes = figure.subplots()
        axes.set_title(f"Precision, recall and F1 by label (dev): micro F1 {micro.f1:.1%}")
        styles = (("precision", _SKY, ""), ("recall", _ORANGE, "//"), ("f1", _BLUE, ""))
        for place, (name, color, hatch) in enumerate(styles):
            values = [getattr(score, name) for _, score in rows]
            at = [row + (place - 1) * 0.26 for row in range(len(rows))]
            axes.barh(
                at, values, height=0.24, color=color, hatch=hatch, edgecolor="white", linewidth=0,
                label="F1" if name == "f1" else name,
            )  # fmt: skip
            for y, value in zip(at, values, strict=True):
                axes.text(value + 0.006, y, f"{value:.1%}", va="center", fontsize=7)
        axes.axhline(len(evaluation.labels) - 0.5, color=_GREY, linewidth=0.8)
        _label_bars(axes, [name for name, _ in rows], "precision, recall and F1")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def confusion_matrix(counts: Mapping[tuple[str, str], int]) -> Figure:
    """The confusion matrix: gold labels and spurious entities in rows, found labels and misses in columns."""
    labels = confused_labels(counts)
    columns, rows = [*labels, OVERLAPPED, MISSED], [*labels, SPURIOUS]
    totals = {there: sum(counts.get((there, found), 0) for found in columns) for there in rows}
    with _styled(1.5 + 0.55 * len(rows), max(_WIDTH, 1.2 + 0.65 * len(columns))) as figure:
        axes = figure.subplots()
        shares = [[counts.get((there, found), 0) / (totals[there] or 1) for found in columns] for there in rows]
        axes.pcolormesh(  # not imshow: the cells of the SVG stay sharp at every size
            [x - 0.5 for x in range(len(columns) + 1)], [y - 0.5 for y in range(len(rows) + 1)], shares,
            cmap="Blues", vmin=0, vmax=1.15, edgecolors="white", linewidth=2,
        )  # fmt: skip
        axes.set_ylim(len(rows) - 0.5, -0.5)
        for y, there in enumerate(rows):
            for x, found in enumerate(columns):
                count = counts.get((there, found), 0)
                if there == SPURIOUS and found not in labels:
                    continue
                share = shares[y][x]
                axes.text(
                    x, y, f"{count:,}\n{share:.1%}" if count else "0", ha="center", va="center", fontsize=7.5,
                    color="white" if share > 0.72 else _INK,
                )  # fmt: skip
        axes.set_xticks(range(len(columns)), [name.replace(" ", "\n") for name in columns])
        axes.set_yticks(range(len(rows)), [f"{there}\n{totals[there]:,}" for there in rows])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        if len(columns) > 10:
            axes.tick_params(axis="x", labelrotation=90)
        axes.spines[:].set_visible(False)
        axes.axhline(len(labels) - 0.5, color=_GREY, linewidth=1)
        axes.axvline(len(labels) - 0.5, color=_GREY, linewidth=1)
        axes.set(
            title="What became of the gold entities (dev): counts and shares of a row", ylabel="gold label and count",
            xlabel="label found with exactly the gold boundaries, or what else became of the entity",
        )  # fmt: skip
    return figure


def reliability_diagram(bins: Sequence[Bin], error: float) -> Figure:
    """Precision and number of entities by score; *error* is the expected calibration error."""
    with _styled(5.4) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot(
            [0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="scores that can be taken at their word"
        )
        scores = [row.mean_score for row in bins]
        precisions = [row.precision for row in bins]
        intervals = [wilson_interval(round(row.precision * row.count), row.count) for row in bins]
        above.errorbar(
            scores, precisions, yerr=_error_bars(precisions, intervals), color=_BLUE, marker="o", markersize=4,
            linewidth=1.5, elinewidth=1, capsize=2, label="this model, with 95% intervals",
        )  # fmt: skip
        title = f"Calibration (dev): expected calibration error {error:.1%}"
        above.set(title=title, ylabel="share of these entities\nthat is right", ylim=(0, 1.02))
        above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        above.legend()
        below.bar(
            [row.low for row in bins], [row.count for row in bins], width=[row.high - row.low for row in bins],
            align="edge", color=_SKY, edgecolor="white",
        )  # fmt: skip
        for row in bins:
            below.annotate(
                f"{row.count:,}", ((row.low + row.high) / 2, row.count), (0, 2), textcoords="offset points",
                ha="center", fontsize=6.5,
            )  # fmt: skip
        below.set_yscale("log")
        below.minorticks_off()
        below.set(xlabel="score that the model gave", ylabel="found entities\n(log scale)", xlim=(0, 1))
        below.set_ylim(0.8, 4 * max((row.count for row in bins), default=1))
        below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def f1_by_length(groups: Sequence[LengthGroup]) -> Figure:
    """F1 by sentence length."""
    with _styled(3.6) as figure:
        axes = figure.subplots()
        values = [group.score.f1 for group in groups]
        axes.bar(range(len(groups)), values, color=_BLUE, width=0.65)
        for x, value in enumerate(values):
            axes.text(x, value + 0.01, f"{value:.1%}", ha="center", fontsize=8)
        names = [f"{row.name}\n{row.num_sentences:,} sentences\n{row.score.gold:,} entities" for row in groups]
        axes.set_xticks(range(len(groups)), names, fontsize=8)
        axes.grid(visible=False, axis="x")
        title = "F1 by length of the sentence (dev)"
        axes.set(title=title, xlabel="tokens in the sentence", ylabel="F1 (micro)", ylim=(0, 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def recall_by_familiarity(shares: Mapping[str, Mapping[Familiarity, Share]]) -> Figure:
    """Recall of each label by familiarity."""
    rows = with_all_labels(shares)
    colors: dict[Familiarity, tuple[str, str]] = {
        "same label": (_BLUE, "in training with this label"),
        "other label": (_ORANGE, "in training, but only with another label"),
        "unseen": (_GREEN, "never in training"),
    }
    with _styled(1.3 + 0.62 * len(rows)) as figure:
        axes = figure.subplots()
        axes.set_title("Recall by whether training knew the entity's words (dev)")
        for place, kind in enumerate(FAMILIARITIES):
            color, legend = colors[kind]
            known = [(row, share[kind]) for row, share in enumerate(rows.values()) if share[kind].whole]
            at = [row + (place - 1) * 0.26 for row, _ in known]
            values = [share.part / share.whole for _, share in known]
            intervals = [wilson_interval(*share) for _, share in known]
            axes.barh(
                at, values, height=0.24, color=color, label=legend, xerr=_error_bars(values, intervals),
                error_kw={"elinewidth": 0.8, "ecolor": _INK, "capsize": 1.5},
            )  # fmt: skip
            for y, value, (_, share), (_, high) in zip(at, values, known, intervals, strict=True):
                axes.text(high + 0.012, y, f"{value:.0%} of {share.whole:,}", va="center", fontsize=7)
        axes.axhline(0.5, color=_GREY, linewidth=0.8)
        _label_bars(axes, list(rows), "recall, with 95% intervals")
        axes.set_xlim(0, 1.16)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


@contextmanager
def _styled(height: float, width: float = _WIDTH) -> Iterator[Figure]:
    """An empty figure, *height* by *width* inches, to be filled within the block, which sets the style."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def _label_bars(axes: Axes, rows: Sequence[str], scale: str) -> None:
    """Label the axes of a chart of horizontal bars: *rows* from top to bottom, *scale* in percent."""
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(scale)
    axes.set_xlim(0, 1.06)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _error_bars(values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> list[list[float]]:
    """The lengths of the error bars below and above *values*."""
    pairs = list(zip(values, intervals, strict=True))
    return [
        [max(0.0, value - low) for value, (low, _) in pairs],
        [max(0.0, high - value) for value, (_, high) in pairs],
    ]
