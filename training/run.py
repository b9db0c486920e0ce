"""A whole training run: files in, a finished bundle with its metrics and model card out.

The run folder gets ``run.json`` (what the run was given) before the first
step, and plots and a report behind the last one; what lies between is the
trainer's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from handler.bundle import Bundle, check_replaceable
from handler.config import BundleConfig, ModelConfig, TrainingConfig, model_config, training_config
from handler.digests import file_digest
from handler.errors import ConfigError
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.analysis import evaluation_of, surface_forms, tag_corpus
from training.calibration import calibration_metrics, fit, predictions, with_scores
from training.checkpoint import CHECKPOINT_SECONDS, only_run_in, write_file
from training.corpora import LabelMap, Sentence, label_set, read_corpus, read_label_map
from training.errors import CorpusError, RunError
from training.evaluation import Evaluation, table
from training.examples import OR, all_labels
from training.pretrained import StorageChoice, pack
from training.report import write_report
from training.trainer import BEST, Trainer, check_names, check_no_run_in

logger = logging.getLogger(__name__)

#: What a run was given, before its first step.
RUN_FILE = "run.json"

#: Words of a sentence that does not stand in two files by chance.
_LONG = 5

_LIBRARIES = ("torch", "numpy", "gensim", "nerserve")


class SourceFile(NamedTuple):
    """A file that a run was given, by the name that tells it from the others."""

    name: str
    path: Path
    digest: str


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
    storage: StorageChoice,
    version: str,
    card: Path | None,
    seed: int | None,
    resume: bool,
    threads: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train on *train*, keep what is best on *dev*, write it to *out*; what ``metrics.json`` says comes back.

    *arguments* are those of the command line, for ``run.json``.

    Raises:
        TrainingError: a corpus, a vector file or the run folder cannot be used, or a signal stopped the run.
        BundleError: *out* holds something that is no bundle.
        ConfigError: *config* holds an unknown key or a wrong value.
    """
    check_replaceable(out)  # now, and not after hours
    card_text = _text(card) if card else f"# {out.name}\n"
    label_map = read_label_map(labels) if labels else None
    names = corpus_names([*train, *dev, *test, *vectors])
    parts = {"train": train, "dev": dev, "test": test}
    corpora = {part: _read(paths, names, label_map) for part, paths in parts.items()}
    files = {part: _sources(paths, names) for part, paths in parts.items()}
    _check_distinct(files)
    known = all_labels(_sentences(corpora["train"]))
    if not known:
        raise CorpusError("--train: expected entities to learn from, got none")
    for part in ("dev", "test"):
        _check_scored(part, corpora, known)
    model, training = _settings(config, known)
    if seed is not None:
        training = replace(training, seed=seed)
    bundle_config = BundleConfig(name=out.name, version=version, model=model, training=training)
    check_names(bundle_config, corpora["train"])
    if not resume:
        check_no_run_in(run)
    # What can be refused cheaply is behind us: large vectors take minutes.
    packed = pack(vectors, max_words=max_words, storage=storage)
    files["vectors"] = _sources(vectors, names)
    model = replace(model, word_dim=packed.dim)
    libraries = {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}
    machine = {"cpu": _cpu(), "instructions": torch.backends.cpu.get_cpu_capability()}
    with only_run_in(run):
        trainer = Trainer(
            config=replace(bundle_config, model=model),
            vectors=packed,
            train=corpora["train"],
            dev=corpora["dev"],
            run=run,
            inputs={
                **{f"--{part} {file.name}": file.digest for part in files if part != "test" for file in files[part]},
                "--labels": file_digest(labels) if labels else "no file",
                "--max-words": str(max_words),
                "--storage": storage,
                "words and vectors": _vectors_digest(packed),  # a file of vectors may have others beside it
            },
            environment={**libraries, **machine},
            threads=threads,
            checkpoint_seconds=checkpoint_seconds,
        )
        if resume:
            trainer.resume()
        else:
            trainer.begin()
        document: dict[str, Any] = {
            "name": out.name,
            "version": version,
            "started": _started(run) if resume else _now(),
            "arguments": arguments,
            "model": asdict(model),
            "training": asdict(training),
            "libraries": libraries,
            "machine": {**machine, "threads": torch.get_num_threads()},
            "data": {
                part: {file.name: {**_source(file), **_counts(corpora[part][file.name])} for file in files[part]}
                for part in corpora
            },
            "vectors": {
                "files": {file.name: _source(file) for file in files["vectors"]},
                "words": len(packed),
                "dim": packed.dim,
            },
        }
        write_file(run / RUN_FILE, _json(document))
        progress = trainer.fit()

        logger.info("epoch %d is the best; scoring it on the dev and test files", progress.best_epoch)
        best = Bundle.load(run / BEST)
        tagger = Tagger(best)  # not calibrated yet: its scores are marginals
        marginals = {
            part: {name: tag_corpus(tagger, corpus, name) for name, corpus in corpora[part].items()}
            for part in ("dev", "test")
        }
        calibration = fit([predictions(rows) for rows in marginals["dev"].values()], model.labels)
        bundle = replace(best, digest="", config=replace(best.config, calibration=calibration))
        tagged = {
            part: {name: with_scores(rows, calibration) for name, rows in named.items()}
            for part, named in marginals.items()
        }
        scores = {
            part: {name: evaluation_of(sentences) for name, sentences in named.items()}
            for part, named in tagged.items()
        }
        metrics = {
            "dev_f1": round(progress.best_f1, 4),
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,
            **{part: {name: score.to_dict() for name, score in named.items()} for part, named in scores.items()},
            "calibration": calibration_metrics({**marginals["dev"], **marginals["test"]}, calibration),
            "data": {f"{file.name}{file.path.suffix}": file.digest for sources in files.values() for file in sources},
            "libraries": libraries,
        }
        extras = {
            "metrics.json": _json(metrics),
            "MODEL_CARD.md": _card(card_text, scores["test"] or scores["dev"]).encode(),
        }
        try:
            bundle.save(out, extras)
        except OSError as error:
            raise RunError(f"{out}: cannot be written: {error.strerror}; {run / BEST} holds the weights") from error
        write_report(
            run,
            name=out.name,
            log=progress.log,
            dev=tagged["dev"],
            trained_on=surface_forms(_sentences(corpora["train"])),
            settings={key: document[key] for key in ("model", "training", "libraries", "machine")},
        )
    return metrics


def corpus_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for each of *paths*: the stem, behind as many folders as it takes to tell it from the others.

    >>> corpus_names([Path("data/a/dev.conll"), Path("data/b/dev.conll"), Path("data/b/train.conll")]).values()
    dict_values(['a/dev', 'b/dev', 'train'])
    """
    candidates = {path: [*_tails(path), str(path)] for path in paths}
    return {
        path: next(
            name for name in names if not any(name in others for other, others in candidates.items() if other != path)
        )
        for path, names in candidates.items()
    }


def _tails(path: Path) -> list[str]:
    parts = path.with_suffix("").parts
    return ["/".join(parts[-n:]) for n in range(1, len(parts) + 1)]


def _read(paths: Sequence[Path], names: Mapping[Path, str], labels: LabelMap | None) -> dict[str, list[Sentence]]:
    """The corpora in *paths* by name."""
    for path in paths:
        if paths.count(path) > 1:
            raise CorpusError(f"{path}: given twice")
    return {names[path]: read_corpus(path, labels) for path in paths}


def _sources(paths: Sequence[Path], names: Mapping[Path, str]) -> list[SourceFile]:
    return [SourceFile(names[path], path, file_digest(path)) for path in paths]


def _check_distinct(files: Mapping[str, Sequence[SourceFile]]) -> None:
    """Refuse a file that is in two parts: what a model was trained on says nothing of how good it is."""
    seen: dict[str, tuple[str, Path]] = {}
    for part, sources in files.items():
        for file in sources:
            other_part, other = seen.setdefault(file.digest, (part, file.path))
            if other_part != part:
                raise CorpusError(f"--{part} {file.path}: expected another file, got that of --{other_part} {other}")


def _check_scored(part: str, corpora: Mapping[str, Mapping[str, Sequence[Sentence]]], known: Sequence[str]) -> None:
    """Refuse corpora of *part*, dev or test, that scores would say nothing of; point out what they do not say.

    *known* are the labels of the training files.
    """
    trained_on = {sentence.words for sentence in _sentences(corpora["train"]) if len(sentence.words) >= _LONG}
    for name, sentences in corpora[part].items():
        annotated = label_set(sentences)
        if open_labels := [label for label in annotated if OR in label]:
            raise CorpusError(f"{name}: expected one label for each entity to score, got {open_labels[0]}")
        if unknown := [label for label in annotated if label not in known]:
            raise CorpusError(
                f"{name}: expected labels of {', '.join(known)}, as training has them, got {', '.join(unknown)};"
                " --labels MAP.json maps labels or drops them"
            )
        if part == "dev" and not annotated:
            raise CorpusError(f"{name}: expected entities, which decide which epoch is best, got none")
        if never := [label for label in known if label not in annotated]:
            logger.warning(
                "%s: %s not annotated; the scores leave out what is found of them, nerserve evaluate counts errors",
                name,
                ", ".join(never),
            )
        long = [sentence.words for sentence in sentences if len(sentence.words) >= _LONG]
        if repeated := sum(words in trained_on for words in long):
            logger.warning(
                "%s: %d of %d sentences of %d words or more also stand in training", name, repeated, len(long), _LONG
            )


def _sentences(corpora: Mapping[str, Sequence[Sentence]]) -> list[Sentence]:
    return [sentence for sentences in corpora.values() for sentence in sentences]


def _settings(path: Path | None, labels: Sequence[str]) -> tuple[ModelConfig, TrainingConfig]:
    """The configuration in *path* over the defaults, for *labels*; ``word_dim`` is still the default's."""
    try:
        defaults = asdict(ModelConfig(labels=tuple(labels)))
    except ConfigError as error:
        raise CorpusError(f"{error}; in ASCII, a letter first; --labels MAP.json gives labels other names") from error
    try:
        document = json.loads(path.read_bytes()) if path else {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: expected JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() - {"model", "training"}:
        raise ConfigError(f"{path}: expected an object with the keys model and training")
    settings = document.get("model", {})
    for key, source in (("labels", "the training files, as --labels maps them"), ("word_dim", "the vectors")):
        if isinstance(settings, dict) and key in settings:
            raise ConfigError(f"{path}: model.{key}: expected to be left out, it comes from {source}")
    return (
        model_config(settings, **defaults),
        training_config(document.get("training", {}), **asdict(TrainingConfig())),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: expected a UTF-8 text file: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _started(run: Path) -> str:
    """When the run in the folder *run* was begun, which is now where it was not."""
    try:
        return str(json.loads((run / RUN_FILE).read_bytes())["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return _now()


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """The CPU's name; its architecture where the system does not tell the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _source(file: SourceFile) -> dict[str, str]:
    return {"path": str(file.path), "digest": file.digest}


def _vectors_digest(vectors: WordVectors) -> str:
    digest = hashlib.sha256("\n".join(vectors.words()).encode("utf-8", "surrogatepass"))
    for rows in np.array_split(np.arange(len(vectors)), len(vectors) // 10_000 + 1):
        digest.update(vectors.take(rows).tobytes())
    for part in vectors.subwords:
        digest.update(f"{part.min_n} {part.max_n} {part.left}".encode())
        for array in part.table.arrays:
            digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def _counts(sentences: Sequence[Sentence]) -> dict[str, Any]:
    entities = Counter(span.label for sentence in sentences for span in sentence.spans)
    return {
        "sentences": len(sentences),
        "tokens": sum(len(sentence.words) for sentence in sentences),
        "entities": dict(sorted(entities.items())),
    }


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n").encode()  # a path as text


def _card(text: str, scores: Mapping[str, Evaluation]) -> str:
    tables = "\n\n".join(f"### {name}\n\n```text\n{table(score)}\n```" for name, score in scores.items())
    return f"{text.rstrip()}\n\n## Scores of these weights\n\n{tables}\n"
