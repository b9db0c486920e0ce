"""The tables of a report as PNG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")  # works without a display

from matplotlib import pyplot as plt

from bench.report import Cell, Chart, Table, shown
from bench.rounds import Spread


def draw(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write a PNG file to *folder*, which is created, for each chart of *tables*; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw(table, chart, folder) for table in tables for chart in table.charts]


def _draw(table: Table, chart: Chart, folder: Path) -> Path:
    value, along, series = (
        table.columns.index(name) for name in (chart.value, chart.along, chart.series or chart.along)
    )
    points: dict[str, dict[Cell, Spread]] = {}
    for row in table.rows:
        cell = row[value]
        if not isinstance(cell, str):
            name = str(row[series]) if chart.series else chart.value
            points.setdefault(name, {})[row[along]] = cell if isinstance(cell, Spread) else Spread.of([float(cell)])
    places = list(dict.fromkeys(place for own in points.values() for place in own))
    labels = [shown(place) for place in places]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, (name, own) in enumerate(points.items()):
        medians = [spread.median for spread in own.values()]
        errors = [[one.median - one.low for one in own.values()], [one.high - one.median for one in own.values()]]
        if chart.kind == "lines":
            axes.errorbar(list(own), medians, yerr=errors, marker="o", capsize=3, label=name)
        else:
            width = 0.8 / len(points)
            left = [places.index(place) + (number - (len(points) - 1) / 2) * width for place in own]
            axes.bar(left, medians, width, yerr=errors, capsize=2, label=name)
    if chart.kind == "lines":
        axes.set_xscale("log", base=2)
    axes.set_xticks(places if chart.kind == "lines" else range(len(places)), labels, fontsize=8)
    axes.set(xlabel=chart.along, ylabel=chart.value)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.set_ylim(bottom=0)
    axes.set_title(table.title, fontsize=10)
    if chart.series:
        axes.legend(fontsize=8)
    path = folder / (re.sub(r"\W+", "-", f"{table.title} {chart.value}".lower()).strip("-") + ".png")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
