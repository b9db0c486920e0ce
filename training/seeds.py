"""One configuration trained with several seeds: how good it is on average, and the seed that is best on dev as bundle.

One seed's score is luck in part (Reimers and Gurevych 2017, "Reporting Score Distributions Makes a Difference").
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from handler.bundle import Bundle, check_replaceable
from training.errors import RunError

logger = logging.getLogger(__name__)

#: Trains with a seed, in a run folder, and writes the bundle to a folder; what ``metrics.json`` says comes back.
TrainOne = Callable[[int, Path, Path], dict[str, Any]]


def train_seeds(seeds: Sequence[int], *, train_one: TrainOne, out: Path, run: Path) -> dict[str, Any]:
    """Train with each of *seeds* in ``RUN/seed-N``, the best on dev to *out*; its metrics, with the means, come back.

    Raises:
        RunError: a seed stands twice, or a file cannot be written.
        TrainingError, NERError: see *train_one*.
    """
    check_replaceable(out)
    if len(set(seeds)) != len(seeds):
        raise RunError(f"--seeds: expected different seeds, got {' '.join(map(str, seeds))}")
    folders = {seed: run / f"seed-{seed}" for seed in seeds}
    metrics = {}
    for number, (seed, folder) in enumerate(folders.items(), 1):
        logger.info("seed %d, %d of %d", seed, number, len(seeds))
        metrics[seed] = train_one(seed, folder, folder / out.name)
    shipped = max(seeds, key=lambda seed: metrics[seed]["dev_f1"])
    summary = summarise(metrics)
    document = {**metrics[shipped], "seeds": {"shipped": shipped, **summary}}
    best = folders[shipped] / out.name
    card = (best / "MODEL_CARD.md").read_text("utf-8").rstrip()
    extras = {
        "metrics.json": (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(),
        "MODEL_CARD.md": f"{card}\n\n{_section(shipped, summary)}".encode(),
    }
    try:
        Bundle.load(best).save(out, extras)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}; {best} holds the weights") from error
    return document


def summarise(metrics: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of every F1 in *metrics*, which are those of one seed each."""
    first, *_ = metrics.values()
    parts = {
        part: {
            name: {
                "micro": _spread([run[part][name]["micro"]["f1"] for run in metrics.values()]),
                "macro": _spread([run[part][name]["macro"]["f1"] for run in metrics.values()]),
                "labels": {
                    label: _spread(
                        [run[part][name]["labels"].get(label, {"f1": 0.0})["f1"] for run in metrics.values()]
                    )
                    for label in scores["labels"]
                },
            }
            for name, scores in first[part].items()
        }
        for part in ("dev", "test")
    }
    return {"seeds": list(metrics), "dev_f1": _spread([run["dev_f1"] for run in metrics.values()]), **parts}


def _spread(scores: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation.

    >>> _spread([0.5, 0.7])
    {'mean': 0.6, 'deviation': 0.1414}
    """
    return {"mean": round(mean(scores), 4), "deviation": round(stdev(scores) if len(scores) > 1 else 0.0, 4)}


def _section(shipped: int, summary: Mapping[str, Any]) -> str:
    """What the model card says of the seeds."""
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
