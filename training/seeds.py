"""Training with several seeds: mean and standard deviation of the scores, and the bundle of the seed best on dev.

One seed's score is partly luck (Reimers and Gurevych 2017, "Reporting Score Distributions Makes a Difference").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from handler.bundle import Bundle
from training.errors import InputError
from training.output import CARD_FILE, check_output
from training.run import save_bundle
from training.trainer import check_run_folder

logger = logging.getLogger(__name__)

#: Trains with a seed in a run folder, writes the bundle to a folder, and returns the content of ``metrics.json``.
TrainOne = Callable[[int, Path, Path], dict[str, Any]]


def train_seeds(
    seeds: Sequence[int], *, train_one: TrainOne, out: Path, run: Path, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Train with each of *seeds* in ``RUN/seed-N``, and write the one best on dev to *out*; returns its metrics.

    All folders are checked first.  Of what is there already, the bundles of runs that go on with *resume* are replaced,
    with *overwrite* also those of others.

    Raises:
        InputError: a seed is given twice.
        RunError: a folder holds something else, or cannot be written to.
        TrainingError, NERError: see *train_one*.
    """
    if len(set(seeds)) != len(seeds):
        raise InputError(f"--seeds: expected different seeds, got {' '.join(map(str, seeds))}")
    folders = {seed: run / f"seed-{seed}" for seed in seeds}
    for folder in folders.values():
        check_run_folder(folder, resume=resume)
        check_output(folder / out.name, folder, own=[folder] if resume else [], overwrite=overwrite)
    check_output(out, run, own=list(folders.values()) if resume else [], overwrite=overwrite)
    metrics = {}
    for number, (seed, folder) in enumerate(folders.items(), 1):
        logger.info("seed %d, %d of %d", seed, number, len(seeds))
        metrics[seed] = train_one(seed, folder, folder / out.name)
    shipped = max(seeds, key=lambda seed: metrics[seed]["dev_f1"])
    summary = summarise(metrics)
    document = {**metrics[shipped], "seeds": {"shipped": shipped, **summary}}
    best = folders[shipped] / out.name
    card = (best / CARD_FILE).read_text("utf-8").rstrip()
    card = f"{card}\n\n{_section(shipped, summary)}"
    check_output(out, run, own=list(folders.values()), overwrite=overwrite)  # another run may have ended meanwhile
    save_bundle(Bundle.load(best), out, metrics=document, card=card, weights=best)
    return document


def summarise(metrics: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of every F1 over *metrics*, which are by seed."""
    runs = list(metrics.values())
    summary: dict[str, Any] = {"seeds": list(metrics), "dev_f1": _spread([run["dev_f1"] for run in runs])}
    for part in ("dev", "test"):
        summary[part] = {}
        for name, first in runs[0][part].items():
            scores = [run[part][name] for run in runs]
            labels = {
                label: _spread([score["labels"].get(label, {"f1": 0.0})["f1"] for score in scores])
                for label in first["labels"]
            }
            averages = {key: _spread([score[key]["f1"] for score in scores]) for key in ("micro", "macro")}
            summary[part][name] = {**averages, "labels": labels}
    return summary


def _spread(scores: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation.

    >>> _spread([0.5, 0.7])
    {'mean': 0.6, 'deviation': 0.1414}
    """
    return {"mean": round(mean(scores), 4), "deviation": round(stdev(scores) if len(scores) > 1 else 0.0, 4)}


def _section(shipped: int, summary: Mapping[str, Any]) -> str:
    """The section of the model card on the seeds."""
    scores = summary["test"] or summary["dev"]
    seeds = ", ".join(map(str, summary["seeds"]))
    rows = "\n".join(
        f"| {name} | {score['micro']['mean']:.2%} ± {score['micro']['deviation']:.2%}"
        f" | {score['macro']['mean']:.2%} ± {score['macro']['deviation']:.2%} |"
        for name, score in scores.items()
    )
    return (
        f"## Mean and standard deviation over seeds {seeds}\n\n"
        f"These weights are of seed {shipped}, the best on dev.\n\n"
        f"| file | micro F1 | macro F1 |\n|---|---|---|\n{rows}\n"
    )
