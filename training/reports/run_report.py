"""``report.html`` and ``plots/`` of a run folder: the learning curve, and the errors of the best epoch on dev."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from training.errors import RunFailedError
from training.output import write_file
from training.reports import plots
from training.reports.analysis import (
    FAMILIARITIES,
    MISSED,
    OVERLAPPED,
    SPURIOUS,
    SurfaceForms,
    by_familiarity,
    by_length,
    confused_labels,
    confusion,
    with_all_labels,
)
from training.reports.pages import render
from training.scoring.calibration import expected_calibration_error, predictions, reliability
from training.scoring.evaluation import Average, Evaluation, Score, TaggedSentence, score_tagged

REPORT_FILE = "report.html"
PLOTS = "plots"


class Table(NamedTuple):
    """Rows of text under column heads; the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Plot(NamedTuple):
    """A figure; the base name of its files, its alt text, its caption and its numbers."""

    name: str
    figure: Figure
    alt: str
    caption: str
    numbers: Table


def write_report(
    run: Path,
    *,
    name: str,
    log: Sequence[Mapping[str, Any]],
    dev: Mapping[str, Sequence[TaggedSentence]],
    trained_on: SurfaceForms,
    settings: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write ``report.html``, one self-contained file, ``plots/*.png`` and ``plots/*.svg`` to the folder *run*.

    *log* is ``log.jsonl``, *dev* the dev corpora as the best epoch tags them; *settings* are printed as they are.

    Raises:
        RunFailedError: the folder cannot be written to.
    """
    try:
        (run / PLOTS).mkdir(exist_ok=True)
    except OSError as error:
        raise RunFailedError(f"{run / PLOTS}: cannot be written: {error.strerror}") from error
    sentences = [row for rows in dev.values() for row in rows]
    figures = []
    for plot in (
        _learning_curve(log),
        _label_scores(score_tagged(sentences)),
        _confusion(sentences),
        _calibration(sentences),
        _length(sentences),
        _familiarity(sentences, trained_on),
    ):
        png, svg = plots.rendered(plot.figure)
        write_file(run / PLOTS / f"{plot.name}.png", png)
        write_file(run / PLOTS / f"{plot.name}.svg", svg)
        figures.append((plot, _inline(svg.decode(), plot.name)))
    page = render(
        "report.html",
        name=name,
        best=_best(log),
        epochs=len(log),
        corpora=_scores({corpus: score_tagged(rows).micro for corpus, rows in dev.items()}),
        figures=figures,
        settings=settings,
    )
    write_file(run / REPORT_FILE, page.encode())


def _best(log: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    best: int = log[-1]["best_epoch"]
    return log[best - 1]


def _learning_curve(log: Sequence[Mapping[str, Any]]) -> Plot:
    first, last, best = log[0], log[-1], _best(log)
    rows = [
        [
            str(entry["epoch"]),
            f"{entry['loss']:.4f}",
            f"{entry['learning_rate']:.2e}",
            f"{entry['tokens_per_s']:,}",
            f"{entry['seconds']:,.1f}",
            f"{entry['dev_f1']:.2%}",
            *(f"{entry['dev'][corpus]['f1']:.2%}" for corpus in first["dev"]),
        ]
        for entry in log
    ]
    return Plot(
        "learning-curve",
        plots.learning_curve(log),
        f"Over {len(log)} epochs the training loss goes from {first['loss']:.3f} to {last['loss']:.3f} nats per token"
        f" and the dev F1 from {first['dev_f1']:.1%} to {last['dev_f1']:.1%}; epoch {best['epoch']} is best with"
        f" {best['dev_f1']:.1%}.",
        "The loss is a mean over the epoch, with dropout. The dev F1 is that of the averaged weights after it; the"
        " epoch whose mean over the dev corpora is highest becomes the model.",
        Table(["epoch", "loss", "learning rate", "tokens/s", "seconds", "dev F1", *first["dev"]], rows),
    )


def _label_scores(evaluation: Evaluation) -> Plot:
    micro = evaluation.micro
    labels = sorted(evaluation.labels.items(), key=lambda item: item[1].f1)
    extremes = ""
    if len(labels) > 1:
        (worst, lowest), (best, highest) = labels[0], labels[-1]
        extremes = f"; {best} has the best F1 ({highest.f1:.1%}), {worst} the weakest ({lowest.f1:.1%})"
    return Plot(
        "labels",
        plots.label_scores(evaluation),
        f"Micro precision {micro.precision:.1%}, recall {micro.recall:.1%} and F1 {micro.f1:.1%}"
        f" over {micro.gold:,} entities{extremes}.",
        "All dev corpora together. An entity counts when its exact span and its label are right. The micro average"
        " weighs every entity the same, the macro average every label.",
        _scores({**dict(sorted(evaluation.labels.items())), "micro": micro, "macro": evaluation.macro}),
    )


def _confusion(dev: Sequence[TaggedSentence]) -> Plot:
    counts = confusion(dev)
    labels = confused_labels(counts)
    columns = [*labels, OVERLAPPED, MISSED]
    gold = sum(count for (there, _), count in counts.items() if there != SPURIOUS)
    right = sum(count for (there, found), count in counts.items() if there == found)
    return Plot(
        "confusion",
        plots.confusion_matrix(counts),
        f"Of {gold:,} gold entities {right:,} were found with their boundaries and label,"
        f" {sum(counts[label, MISSED] for label in labels):,} were missed and"
        f" {sum(counts[label, OVERLAPPED] for label in labels):,} found with other boundaries;"
        f" {sum(counts[SPURIOUS, label] for label in labels):,} found entities are spurious.",
        "A row holds every gold entity of its label once. Right are those on the diagonal; beside it the boundaries"
        " are right and the label is not. Spurious entities stand for no gold one.",
        Table(
            ["gold", *columns],
            [[there, *(f"{counts[there, found]:,}" for found in columns)] for there in (*labels, SPURIOUS)],
        ),
    )


def _calibration(dev: Sequence[TaggedSentence]) -> Plot:
    found = predictions(dev)
    scores, correct = [prediction.score for prediction in found], [prediction.correct for prediction in found]
    bins, error = reliability(scores, correct), expected_calibration_error(scores, correct)
    rows = [
        [f"{row.low:.0%} to {row.high:.0%}", f"{row.count:,}", f"{row.mean_score:.1%}", f"{row.precision:.1%}"]
        for row in bins
    ]
    return Plot(
        "calibration",
        plots.reliability_diagram(bins, error),
        f"The share of right entities against their score, over {len(found):,} found entities: the two are"
        f" {error:.1%} apart on average.",
        "Below the dashed line the model is surer than it is right, above it less sure. The expected calibration"
        " error is the mean distance between the two, weighted by the number of entities. A calibration that was fitted"
        " on these very corpora looks a little better here than it is.",
        Table(["score", "found", "mean score", "right"], rows),
    )


def _length(dev: Sequence[TaggedSentence]) -> Plot:
    groups = by_length(dev)
    return Plot(
        "length",
        plots.f1_by_length(groups),
        f"F1 by tokens in the sentence: {', '.join(f'{group.name}: {group.score.f1:.1%}' for group in groups)}.",
        "All dev corpora together: where they differ in length, a difference may be one of corpora.",
        _scores({group.name: group.score for group in groups}),
    )


def _familiarity(dev: Sequence[TaggedSentence], trained_on: SurfaceForms) -> Plot:
    shares = by_familiarity(dev, trained_on)
    rows = with_all_labels(shares)
    recalls = [
        f"{kind}: {share.part / share.whole:.1%} of {share.whole:,}"
        for kind, share in rows["all labels"].items()
        if share.whole
    ]
    return Plot(
        "familiarity",
        plots.recall_by_familiarity(shares),
        f"Recall by how training knew the words of an entity: {', '.join(recalls)}.",
        "Words are compared with their case. What was never in training shows how well the model goes by context and"
        " spelling; what had another label there shows how far it goes by heart.",
        Table(
            ["label", *FAMILIARITIES],
            [[label, *(f"{share.part:,} of {share.whole:,}" for share in row.values())] for label, row in rows.items()],
        ),
    )


def _scores(scores: Mapping[str, Score | Average]) -> Table:
    rows = [
        [
            *(name, f"{score.precision:.2%}", f"{score.recall:.2%}", f"{score.f1:.2%}"),
            *((f"{score.gold:,}", f"{score.predicted:,}") if isinstance(score, Score) else ("", "")),
        ]
        for name, score in scores.items()
    ]
    return Table(["", "precision", "recall", "F1", "gold", "found"], rows)


def _inline(svg: str, name: str) -> Markup:
    """*svg* as an element to be embedded in HTML; its ids are prefixed with *name*."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r'href="#', f'href="#{name}-', element)
    element = element.replace("url(#", f"url(#{name}-")
    return Markup(element.replace("<svg", '<svg aria-hidden="true"', 1))  # noqa: S704  (matplotlib escapes all text)
