"""A whole training run: files in, a finished bundle with its metrics and model card out."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handler.bundle import Bundle, check_replaceable
from handler.config import BundleConfig, ModelConfig, TrainingConfig, model_config, training_config
from handler.digests import file_digest
from handler.errors import ConfigError
from handler.tagger import Tagger
from handler.vectors import Storage
from training.corpora import Sentence, label_set, read_conll, read_label_map
from training.evaluation import evaluate, table
from training.pretrained import pack
from training.trainer import BEST, Trainer


def train_bundle(
    *,
    train: Sequence[Path],
    dev: Sequence[Path],
    test: Sequence[Path],
    vectors: Sequence[Path],
    out: Path,
    run: Path,
    config: Path | None,
    labels: Path | None,
    max_words: int,
    storage: Storage,
    version: str,
    card: Path | None,
    seed: int | None,
    resume: bool,
) -> dict[str, Any]:
    """Train on *train*, keep what is best on *dev*, write it to *out*; what ``metrics.json`` says comes back.

    Raises:
        TrainingError: a corpus, a vector file or the run folder cannot be used.
        BundleError: *out* holds something that is no bundle.
        ConfigError: *config* holds an unknown key or a wrong value.
    """
    check_replaceable(out)  # now, and not after hours
    label_map = read_label_map(labels) if labels else None
    sentences = [sentence for path in train for sentence in read_conll(path, label_map)]
    held_out = {path.stem: read_conll(path, label_map) for path in (*dev, *test)}
    packed = pack(vectors, max_words=max_words, storage=storage)
    model, training = _settings(config, labels=label_set(sentences), word_dim=packed.dim)
    if seed is not None:
        training = replace(training, seed=seed)
    settings = BundleConfig(name=out.name, version=version, model=model, training=training)
    trainer = Trainer(
        config=settings,
        vectors=packed,
        train=sentences,
        dev={path.stem: held_out[path.stem] for path in dev},
        run=run,
    )
    if resume:
        trainer.resume()
    progress = trainer.fit()

    bundle = Bundle.load(run / BEST)
    tagger = Tagger(bundle)
    scores = {name: evaluate(tagger, corpus, _annotated(corpus)) for name, corpus in held_out.items()}
    metrics: dict[str, Any] = {
        "dev_f1": round(progress.best_f1, 4),
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "dev": {path.stem: scores[path.stem].to_dict() for path in dev},
        "test": {path.stem: scores[path.stem].to_dict() for path in test},
        "data": {path.name: file_digest(path) for path in (*train, *dev, *test, *vectors)},
        "libraries": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    extras = {
        "metrics.json": (json.dumps(metrics, indent=2) + "\n").encode(),
        "MODEL_CARD.md": _card(
            card.read_text("utf-8") if card else f"# {out.name}\n",
            {name: table(scores[name]) for name in (path.stem for path in test or dev)},
        ).encode(),
    }
    Bundle.load(run / BEST).save(out, extras)
    return metrics


def _settings(path: Path | None, *, labels: list[str], word_dim: int) -> tuple[ModelConfig, TrainingConfig]:
    """The configuration in *path* over the defaults, the model's labels and width as the data has them."""
    try:
        document = json.loads(path.read_bytes()) if path else {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: expected JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() - {"model", "training"}:
        raise ConfigError(f"{path}: expected an object with the keys model and training")
    defaults = {**asdict(ModelConfig(labels=tuple(labels))), "word_dim": word_dim}
    return (
        model_config(document.get("model", {}), **defaults),
        training_config(document.get("training", {}), **asdict(TrainingConfig())),
    )


def _annotated(sentences: Sequence[Sentence]) -> list[str]:
    """The labels that a corpus annotates; others are not counted against the model there."""
    return label_set(sentences)


def _card(text: str, tables: dict[str, str]) -> str:
    scores = "\n\n".join(f"### {name}\n\n```text\n{rows}\n```" for name, rows in tables.items())
    return f"{text.rstrip()}\n\n## Scores of these weights\n\n{scores}\n"
