"""The tables of a report as PNG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")  # no screen is needed

from matplotlib import pyplot as plt

from bench.report import Cell, Chart, Table, shown
from bench.rounds import Spread


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """The files written to *folder*, which is made: one for each chart of *tables*."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw(table, chart, folder) for table in tables for chart in table.charts]


def _draw(table: Table, chart: Chart, folder: Path) -> Path:
    value, along = table.columns.index(chart.value), table.columns.index(chart.along)
    series = table.columns.index(chart.series) if chart.series else along
    rows = [row for row in table.rows if not isinstance(row[value], str)]
    places = list(dict.fromkeys(row[along] for row in rows))
    names = list(dict.fromkeys(str(row[series]) for row in rows)) if chart.series else [chart.value]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, name in enumerate(names):
        own = {row[along]: _spread(row[value]) for row in rows if not chart.series or str(row[series]) == name}
        at = [place for place in places if place in own]
        medians = [own[place].median for place in at]
        errors = [
            [own[place].median - own[place].low for place in at],
            [own[place].high - own[place].median for place in at],
        ]
        if chart.kind == "lines":
            axes.errorbar(at, medians, yerr=errors, marker="o", capsize=3, label=name)
        else:
            width = 0.8 / len(names)
            left = [places.index(place) + (number - (len(names) - 1) / 2) * width for place in at]
            axes.bar(left, medians, width, yerr=errors, capsize=2, label=name)
    _label(axes, chart, places)
    axes.set_title(table.title, fontsize=10)
    if chart.series:
        axes.legend(fontsize=8)
    path = folder / (re.sub(r"\W+", "-", f"{table.title} {chart.value}".lower()).strip("-") + ".png")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _label(axes: Any, chart: Chart, places: Sequence[Cell]) -> None:
    axes.set_xlabel(chart.along)
    axes.set_ylabel(chart.value)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.set_ylim(bottom=0)
    if chart.kind == "lines":
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [shown(place) for place in places])
    else:
        axes.set_xticks(range(len(places)), [shown(place) for place in places], fontsize=8)


def _spread(cell: Cell) -> Spread:
    return cell if isinstance(cell, Spread) else Spread.of([float(cell)])
