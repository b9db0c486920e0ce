"""A training run, from the input files to a bundle with its metrics, model card and report.

The run folder gets ``run.json``, the inputs of the run, before the first step, and plots and a report after the last
one; the :class:`~training.trainer.Trainer` writes the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from handler.bundle import Bundle
from handler.config import BundleConfig
from handler.digests import CONFIG_FILE, file_digest
from handler.errors import ConfigError, errors_name
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.checkpoint import CHECKPOINT_SECONDS, only_run_in
from training.corpora import LabelMap, Sentence, label_set, numbered_sentences, read_label_map
from training.errors import CorpusError, InputError, RunFailedError
from training.examples import OR, all_labels
from training.initial import check_width
from training.output import CARD_FILE, METRICS_FILE, RUN_FILE, check_output, check_room, write_file
from training.reports.analysis import surface_forms
from training.reports.run_report import write_report
from training.scoring.calibration import calibration_metrics, fit, predictions, with_scores
from training.scoring.evaluation import TaggedSentence, of_annotated, score_tagged, tag_corpus
from training.scoring.evaluation import table as score_table
from training.scoring.profile import profile
from training.settings import read_about, read_settings
from training.survey import Survey, Surveyor, table, with_vectors
from training.trainer import BEST, Progress, Trainer, check_names, check_run_folder
from training.vectors.pretrained import StorageChoice, pack

logger = logging.getLogger(__name__)

#: Words of a sentence that is unlikely to be in two files by chance.
_LONG = 5

_LIBRARIES = ("torch", "numpy", "gensim", "nerserve")


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """The inputs of a training run: files, folders and settings.

    Attributes:
        train: Corpora to learn from.
        dev: Corpora whose mean F1 selects the best epoch.
        test: Corpora that are only scored.
        vectors: Files of word vectors, which are concatenated.
        out: The bundle to write; the folder's name is the model's.
        run: The run folder: state, log, report.
        config: JSON file with model and training settings; None for the defaults.
        label_map: JSON file with a label map; None for the labels of the corpora.
        max_words: Word vectors to keep.
        storage: Number format of the vectors.
        version: The model's version.
        card: Text file that ``MODEL_CARD.md`` begins with.
        seed: Overrides the seed of *config*.
        resume: Continue from the state in the run folder, if there is one.
        threads: CPU threads; None for PyTorch's default or, when resuming, the number that the run began with.
        checkpoint_seconds: Seconds between two states.
        arguments: The command line, for ``run.json``.
        init: A bundle whose weights the run begins with, and whose vectors it has if *vectors* is empty.
        overwrite: Replace another bundle in *out*.
        description: Overrides the description of *config*.
        language: Overrides the language of *config*.
    """

    train: Sequence[Path]
    dev: Sequence[Path]
    test: Sequence[Path]
    vectors: Sequence[Path]
    out: Path
    run: Path
    config: Path | None
    label_map: Path | None
    max_words: int
    storage: StorageChoice
    version: str
    card: Path | None
    seed: int | None
    resume: bool
    threads: int | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    arguments: Mapping[str, Any] | None = None
    init: Path | None = None
    overwrite: bool = False
    description: str | None = None
    language: str | None = None

    def check_folders(self) -> None:
        """Raise RunError if a run could not write, or would replace something else than itself."""
        check_run_folder(self.run, resume=self.resume)
        check_output(self.out, self.run, own=[self.run] if self.resume else [], overwrite=self.overwrite)


class SourceFile(NamedTuple):
    """An input file; ``name`` is unique in its run."""

    name: str
    path: Path
    digest: str


class _Run(NamedTuple):
    """A run whose inputs are read and checked; corpora are by part (train, dev, test) and name, files also by part.

    A run that is resumed must have the same *identity*, inputs by name.
    """

    inputs: TrainingInputs
    card: str
    config: BundleConfig
    corpora: dict[str, dict[str, list[Sentence]]]
    surveys: dict[str, dict[str, Survey]]
    files: dict[str, list[SourceFile]]
    vectors: WordVectors
    init: Bundle | None
    identity: dict[str, str]
    libraries: dict[str, str]
    machine: dict[str, str]


def train_bundle(inputs: TrainingInputs) -> dict[str, Any]:
    """Train, calibrate and score a model, and write it as a bundle; returns the content of ``metrics.json``.

    Raises:
        TrainingError: a corpus, a vector file, a setting or a folder cannot be used, or a signal stopped the run.
        BundleError: the initial bundle is damaged.
    """
    inputs.check_folders()  # now, not after hours of training
    run = _prepare(inputs)
    logger.info("the data:\n%s", table(_by_name(run.surveys)))
    with only_run_in(inputs.run):
        return _finish(run, _fit(run))


def save_bundle(bundle: Bundle, out: Path, *, metrics: Mapping[str, Any], card: str, weights: Path) -> None:
    """Write *bundle*, *metrics* and *card* to *out*; or raise RunFailedError, which names *weights*, a copy."""
    try:
        bundle.save(out, {METRICS_FILE: _json(metrics), CARD_FILE: card.encode()})
    except OSError as error:
        raise RunFailedError(f"{out}: cannot be written: {error.strerror}; {weights} holds the weights") from error


def corpus_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A unique name for each of *paths*: the stem, with as many parent folders as needed.

    >>> corpus_names([Path("data/a/dev.conll"), Path("data/b/dev.conll"), Path("data/b/train.conll")]).values()
    dict_values(['a/dev', 'b/dev', 'train'])
    """
    candidates = {}
    for path in paths:
        parts = path.with_suffix("").parts
        candidates[path] = [*("/".join(parts[-n:]) for n in range(1, len(parts) + 1)), str(path)]
    return {
        path: next(
            name for name in names if not any(name in others for other, others in candidates.items() if other != path)
        )
        for path, names in candidates.items()
    }


def _prepare(inputs: TrainingInputs) -> _Run:
    """Read and check all inputs; the vectors last, as large ones take minutes."""
    card = _text(inputs.card) if inputs.card else f"# {inputs.out.name}\n"
    label_map = read_label_map(inputs.label_map) if inputs.label_map else None
    init = None
    if inputs.init:
        with errors_name(inputs.init):
            init = Bundle.load(inputs.init)
    vector_paths = inputs.vectors or [path for path in [inputs.init] if path]
    parts = {"train": inputs.train, "dev": inputs.dev, "test": inputs.test}
    names = corpus_names([*inputs.train, *inputs.dev, *inputs.test, *vector_paths])
    corpora, surveys = _read(parts, names, label_map)
    files = {part: _sources(paths, names) for part, paths in parts.items()}
    _check_distinct(files)
    labels = all_labels(_sentences(corpora["train"]))
    if not labels:
        raise CorpusError("--train: expected entities to learn from, got none")
    for part in ("dev", "test"):
        _check_scored(part, corpora, labels)
    model, training = read_settings(inputs.config, labels, init.config.model if init else None)
    if inputs.seed is not None:
        training = replace(training, seed=inputs.seed)
    about = read_about(inputs.config, description=inputs.description, language=inputs.language)
    try:
        config = BundleConfig(inputs.out.name, inputs.version, model, training, about=about)
        check_names(config, corpora["train"])
    except ConfigError as error:  # an option's, and not that of a bundle that was there
        raise InputError(str(error)) from error
    vectors = pack(vector_paths, max_words=inputs.max_words, storage=inputs.storage)
    files["vectors"] = _sources(vector_paths, names)
    if init:
        check_width(init, vectors)
    config = replace(config, model=replace(model, word_dim=vectors.dim))
    surveys = {
        part: {name: with_vectors(survey, corpora[part][name], vectors) for name, survey in named.items()}
        for part, named in surveys.items()
    }
    libraries = {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}
    machine = {"cpu": _cpu(), "instructions": torch.backends.cpu.get_cpu_capability()}
    identity = _identity(inputs, files, vectors, init)
    return _Run(inputs, card, config, corpora, surveys, files, vectors, init, identity, libraries, machine)


def _identity(
    inputs: TrainingInputs, files: Mapping[str, Sequence[SourceFile]], vectors: WordVectors, init: Bundle | None
) -> dict[str, str]:
    """All inputs of a run that decide its weights, but its settings, by name."""
    digests = {f"--{part} {file.name}": file.digest for part in files if part != "test" for file in files[part]}
    return {
        **digests,
        "--label-map": file_digest(inputs.label_map) if inputs.label_map else "no file",
        "--max-words": str(inputs.max_words),
        "--storage": inputs.storage,
        "words and vectors": _vectors_digest(vectors),  # a vector file may have others beside it
        **({"--init": init.digest} if init else {}),
    }


def _fit(run: _Run) -> Progress:
    """Begin or resume the run, write ``run.json``, and train."""
    inputs = run.inputs
    trainer = Trainer(
        config=run.config,
        vectors=run.vectors,
        train=run.corpora["train"],
        dev=run.corpora["dev"],
        run=inputs.run,
        inputs=run.identity,
        environment={**run.libraries, **run.machine},
        init=run.init,
        threads=inputs.threads,
        checkpoint_seconds=inputs.checkpoint_seconds,
    )
    check_room({inputs.out: trainer.bundle_bytes, inputs.run: trainer.run_bytes})
    check_run_folder(inputs.run, resume=inputs.resume)  # again, now that it is locked
    if inputs.resume:
        trainer.resume()
    write_file(inputs.run / RUN_FILE, _json(_description(run)))
    return trainer.fit()


def _finish(run: _Run, progress: Progress) -> dict[str, Any]:
    """Calibrate and score the best epoch, write its bundle and the report; returns the content of ``metrics.json``."""
    logger.info("epoch %d is the best; scoring it on the dev and test files", progress.best_epoch)
    folder, out = run.inputs.run, run.inputs.out
    best = Bundle.load(folder / BEST)
    tagger = Tagger(best)  # without a calibration: its scores are marginals
    labels = run.config.model.labels
    found = {
        part: {name: tag_corpus(tagger, corpus, name) for name, corpus in corpora.items()}
        for part, corpora in run.corpora.items()
        if part != "train"
    }
    marginals = {part: {name: of_annotated(rows) for name, rows in named.items()} for part, named in found.items()}
    calibration = fit([predictions(rows) for rows in marginals["dev"].values()], labels)
    tagged = {
        part: {name: with_scores(rows, calibration) for name, rows in named.items()}
        for part, named in marginals.items()
    }
    metrics = _metrics(run, progress, tagged, calibration_metrics(marginals["dev"] | marginals["test"], calibration))
    described = profile(
        _sentences(run.corpora["train"]),
        _sentences(run.corpora["dev"]),
        with_scores([row for rows in found["dev"].values() for row in rows], calibration),
        best.encoder(),
    )
    bundle = replace(best, digest="", config=replace(best.config, calibration=calibration, profile=described))
    card = _card(run.card, tagged["test"] or tagged["dev"])
    check_output(out, folder, own=[folder], overwrite=run.inputs.overwrite)  # another run may have ended meanwhile
    save_bundle(bundle, out, metrics=metrics, card=card, weights=folder / BEST)
    write_report(
        folder,
        name=out.name,
        log=progress.log,
        dev=tagged["dev"],
        trained_on=surface_forms(_sentences(run.corpora["train"])),
        settings=_settings(run),
    )
    return metrics


def _settings(run: _Run) -> dict[str, dict[str, Any]]:
    """The configuration and the environment, for ``run.json`` and the report."""
    return {
        "model": asdict(run.config.model),
        "training": asdict(run.config.training),
        "about": asdict(run.config.about),
        "libraries": run.libraries,
        "machine": {**run.machine, "threads": torch.get_num_threads()},
    }


def _description(run: _Run) -> dict[str, Any]:
    """The content of ``run.json``."""
    sources = {
        part: {file.name: {"path": str(file.path), "digest": file.digest} for file in files}
        for part, files in run.files.items()
    }
    return {
        "id": _id(run),
        "name": run.config.name,
        "version": run.config.version,
        "started": _started(run.inputs),
        "arguments": run.inputs.arguments,
        **_settings(run),
        "data": {
            part: {name: {**sources[part][name], **survey.to_dict()} for name, survey in surveys.items()}
            for part, surveys in run.surveys.items()
        },
        "vectors": {"files": sources["vectors"], "words": len(run.vectors), "dim": run.vectors.dim},
    }


def _metrics(
    run: _Run,
    progress: Progress,
    tagged: Mapping[str, Mapping[str, Sequence[TaggedSentence]]],
    calibration: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    scores = {
        part: {name: score_tagged(rows).to_dict() for name, rows in named.items()} for part, named in tagged.items()
    }
    files = [file for sources in run.files.values() for file in sources]
    return {
        "run": _id(run),
        "dev_f1": round(progress.best_f1, 4),
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        **scores,
        "calibration": calibration,
        "data": {f"{file.name}{file.path.suffix}": file.digest for file in files},
        **({"init": run.init.digest} if run.init else {}),
        "libraries": run.libraries,
    }


def _id(run: _Run) -> str:
    """What tells a run from one with other inputs; the same inputs give the same."""
    return f"sha256:{hashlib.sha256(_json(run.identity) + run.config.to_json()).hexdigest()}"


def _read(
    parts: Mapping[str, Sequence[Path]], names: Mapping[Path, str], labels: LabelMap | None
) -> tuple[dict[str, dict[str, list[Sentence]]], dict[str, dict[str, Survey]]]:
    """The corpora of *parts* and their surveys, by part and name."""
    corpora: dict[str, dict[str, list[Sentence]]] = {}
    surveys: dict[str, dict[str, Survey]] = {}
    surveyor = Surveyor()
    for part, paths in parts.items():
        corpora[part], surveys[part] = {}, {}
        for path in paths:
            if paths.count(path) > 1:
                raise CorpusError(f"{path}: given twice")
            numbered = numbered_sentences(path, labels)
            surveys[part][names[path]] = surveyor.survey(path, numbered)
            corpora[part][names[path]] = [sentence for _, sentence in numbered]
    for warning in surveyor.warnings:
        logger.warning("%s", warning)
    return corpora, surveys


def _by_name(surveys: Mapping[str, Mapping[str, Survey]]) -> dict[str, Survey]:
    return {f"--{part} {name}": survey for part, named in surveys.items() for name, survey in named.items()}


def _sources(paths: Sequence[Path], names: Mapping[Path, str]) -> list[SourceFile]:
    """*paths* with their names and digests; a bundle's is that of its ``config.json``."""
    return [SourceFile(names[path], path, file_digest(path / CONFIG_FILE if path.is_dir() else path)) for path in paths]


def _check_distinct(files: Mapping[str, Sequence[SourceFile]]) -> None:
    """Raise CorpusError if a file is in two parts: scores on training data mean nothing."""
    seen: dict[str, tuple[str, Path]] = {}
    for part, sources in files.items():
        for file in sources:
            other_part, other = seen.setdefault(file.digest, (part, file.path))
            if other_part != part:
                raise CorpusError(f"--{part} {file.path}: expected another file, got that of --{other_part} {other}")


def _check_scored(part: str, corpora: Mapping[str, Mapping[str, Sequence[Sentence]]], known: Sequence[str]) -> None:
    """Raise CorpusError if a corpus of *part*, dev or test, cannot be scored; warn of what its scores leave out.

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
                " --label-map FILE maps labels or drops them"
            )
        if part == "dev" and not annotated:
            raise CorpusError(f"{name}: expected entities, which decide which epoch is best, got none")
        if never := [label for label in known if label not in annotated]:
            logger.warning(
                "%s: %s not annotated; the scores leave out what is found of them, nerserve evaluate counts errors",
                *(name, ", ".join(never)),
            )
        long = [sentence.words for sentence in sentences if len(sentence.words) >= _LONG]
        if repeated := sum(words in trained_on for words in long):
            logger.warning(
                "%s: %d of %d sentences of %d words or more also stand in training",
                *(name, repeated, len(long), _LONG),
            )


def _sentences(corpora: Mapping[str, Sequence[Sentence]]) -> list[Sentence]:
    return [sentence for sentences in corpora.values() for sentence in sentences]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a UTF-8 text file: {error}") from error


def _started(inputs: TrainingInputs) -> str:
    """When a resumed run began, by its ``run.json``; now, if it is new."""
    if inputs.resume:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads((inputs.run / RUN_FILE).read_bytes())["started"])
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """The CPU's name, or its architecture if the system does not give the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _vectors_digest(vectors: WordVectors) -> str:
    digest = hashlib.sha256("\n".join(vectors.words()).encode("utf-8", "surrogatepass"))
    for rows in np.array_split(np.arange(len(vectors)), len(vectors) // 10_000 + 1):
        digest.update(vectors.take(rows).tobytes())
    for part in vectors.subwords:
        digest.update(f"{part.min_n} {part.max_n} {part.left}".encode())
        for array in part.table.arrays:
            digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n").encode()  # a path as text


def _card(text: str, tagged: Mapping[str, Sequence[TaggedSentence]]) -> str:
    """*text* and the scores of each corpus."""
    tables = "\n\n".join(
        f"### {name}\n\n```text\n{score_table(score_tagged(rows))}\n```" for name, rows in tagged.items()
    )
    return f"{text.rstrip()}\n\n## Scores of these weights\n\n{tables}\n"
