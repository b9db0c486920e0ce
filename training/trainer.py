"""The training loop: Adam with linear decay, an average of the weights, early stopping on dev, resumable at any batch.

A run folder holds ``state.pt``, the checkpoint, and two outputs that are derived from it: ``log.jsonl`` (one line per
epoch) and ``best/``, the bundle of the best epoch so far.  Both are written after the checkpoint and again on resuming,
so that a run may be killed between any two writes.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import deterministic

from handler.bundle import Bundle
from handler.config import BundleConfig
from handler.errors import ConfigError
from handler.labels import Span
from handler.network.features import FeatureEncoder, char_vocabulary
from handler.network.model import BiLSTMCRF
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.checkpoint import CHECKPOINT_SECONDS, first_difference, read_state, write_state
from training.corpora import Sentence, label_set
from training.errors import RunError, RunFailedError, StoppedError
from training.examples import Annotator, BatchSampler, Example, targets
from training.initial import take_weights
from training.interrupts import stop_requests
from training.output import write_file
from training.progress import Display, duration
from training.scoring.evaluation import Evaluation, score_spans, tag_as_served

logger = logging.getLogger(__name__)

BEST = "best"
LOG_FILE = "log.jsonl"
_STATE_FILE = "state.pt"

#: Dev sentences that are tagged between two checks for a due checkpoint or a signal.
_DEV_SLICE = 256


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        epoch: Epochs completed, evaluation included.
        batch: Mini-batches completed in the current epoch.
        loss: Sum of the loss over their tokens.
        num_tokens: Number of their tokens.
        train_seconds: Time they took.
        dev_seconds: Time of the current epoch's evaluation so far.
        found: In an unfinished evaluation, the spans found in the first sentences of each dev corpus.
        best_f1: The best dev F1 (0 to 1) of a completed epoch.
        best_epoch: Its number, counted from 1.
        log: An entry for each completed epoch.
    """

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    num_tokens: int = 0
    train_seconds: float = 0.0
    dev_seconds: float = 0.0
    found: dict[str, list[list[tuple[int, int, str]]]] = field(default_factory=dict)
    best_f1: float = -1.0
    best_epoch: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def start_epoch(self) -> None:
        """Reset what counts within an epoch."""
        self.batch, self.loss, self.num_tokens, self.train_seconds, self.dev_seconds = 0, 0.0, 0, 0.0, 0.0
        self.found = {}


@dataclass
class _Session:
    """One call of :meth:`Trainer.fit`; ``saved_at`` is the time of the last checkpoint."""

    display: Display
    asked_to_stop: Callable[[], int | None]
    saved_at: float


class Trainer:
    """Trains a model on *train* and keeps the epoch that is best on *dev*.

    *train* and *dev* are corpora by name.  The best epoch has the highest mean of the dev corpora's micro-F1, so that a
    large corpus does not outweigh the others.

    A run that is interrupted or killed, and resumed, ends with bit-identical weights: the order and the dropout of an
    epoch depend on the seed and the epoch alone, and a checkpoint within an epoch holds the random generator's state.

    *inputs* are the other inputs of the run by name, such as digests of its files; a checkpoint with different ones is
    refused.  A different *environment* (libraries, CPU) is only warned of.  *threads* are CPU threads, by default those
    of the checkpoint, else PyTorch's default; another number would round sums differently.

    *init* is a bundle whose weights and characters the run begins with (:func:`~training.initial.take_weights`).

    *run* is an existing folder.
    """

    def __init__(
        self,
        *,
        config: BundleConfig,
        vectors: WordVectors,
        train: Mapping[str, Sequence[Sentence]],
        dev: Mapping[str, Sequence[Sentence]],
        run: Path,
        inputs: Mapping[str, str] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
        init: Bundle | None = None,
        threads: int | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._settings = config.training
        check_names(config, train)
        self._dev = dev
        self._run = run
        self._inputs = {**inputs, **_flat_settings(config)}
        self._environment = environment
        self._threads = threads
        self._checkpoint_seconds = checkpoint_seconds
        if threads:
            torch.set_num_threads(threads)
        counts = Counter(word for sentences in train.values() for sentence in sentences for word in sentence.words)
        torch.manual_seed(self._settings.seed)
        chars = init.chars if init else char_vocabulary(counts.items(), self._settings.min_char_count)
        self._bundle = Bundle.new(config, chars, vectors)
        self._model = self._bundle.model
        if init:
            take_weights(init, self._bundle)
        self._average = {name: tensor.detach().clone() for name, tensor in self._model.named_parameters()}
        self._best: dict[str, Tensor] = {}
        self._encoder = FeatureEncoder(
            vectors=vectors, chars=chars, max_word_chars=config.model.max_word_chars, cache_words=4 * len(counts)
        )
        self._annotator = Annotator(config.model, config.training.unannotated)
        self._examples = [
            self._annotator.example(sentence, name)
            for name, sentences in train.items()
            for sentence in sentences
            if sentence.words
        ]
        self._sampler = BatchSampler(self._examples, self._settings.corpus_shares, self._settings.batch_size)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=self._settings.learning_rate, fused=True)
        self._steps_per_epoch = len(self._sampler.batches(random.Random(0)))
        self._progress = Progress()
        self._has_begun = False

    @property
    def bundle_bytes(self) -> int:
        """The size of the bundle, nearly."""
        return self._bundle.vectors.num_bytes + self._weight_bytes

    @property
    def run_bytes(self) -> int:
        """What the run folder will take on the disk, nearly, beyond what it takes now.

        The bundle of the best epoch, and two checkpoints, as one replaces the other: the weights, their average, those
        of the best epoch, and the two averages of Adam.
        """
        now = sum(path.stat().st_size for path in self._run.rglob("*") if path.is_file())
        return max(0, self.bundle_bytes + 2 * 5 * self._weight_bytes - now)

    @property
    def _weight_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self._model.parameters())

    def resume(self) -> Progress:
        """Continue from the checkpoint in the run folder, or start if there is none; returns its progress.

        Raises:
            RunError: the checkpoint is of another run; the message names a difference.
        """
        self._has_begun = True
        path = self._run / _STATE_FILE
        if not path.exists():
            logger.info("%s: holds no state, the run starts from the beginning", self._run)
            return self._progress
        state = read_state(path)
        difference = first_difference(state["inputs"], self._inputs)
        if difference is None and self._threads not in {None, state["threads"]}:
            difference = f"--threads: it began with {state['threads']}, and not with {self._threads}"
        if difference is not None:
            raise RunError(f"{path}: the state of another run; {difference}")
        if (change := first_difference(state["environment"], self._environment)) is not None:
            logger.warning("%s; the weights may not be exactly those of a run without a break", change)
        torch.set_num_threads(state["threads"])
        self._model.load_state_dict(state["model"])
        self._average, self._best = state["average"], state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._progress = progress = Progress(**state["progress"])
        if progress.batch:
            torch.set_rng_state(state["random"])
        self._write_log()
        if self._best:
            self._write_best()
        logger.info(
            "%s: goes on in epoch %d behind %d of %d mini-batches, with %d threads",
            *(self._run, progress.epoch + 1, progress.batch, self._steps_per_epoch, state["threads"]),
        )
        return progress

    def fit(self) -> Progress:
        """Train until ``max_epochs`` or early stopping; the best epoch's bundle is in ``best/``.

        Raises:
            RunError: the run folder cannot be written to, or it holds another run.
            RunFailedError: the loss is not finite, or the disk is full.
            StoppedError: SIGINT or SIGTERM was received, and a checkpoint is written.
        """
        settings, progress = self._settings, self._progress
        if not self._has_begun:
            check_no_run_in(self._run)
            self._has_begun = True
        with _deterministic_kernels(), self._display() as display, stop_requests() as asked_to_stop:
            session = _Session(display, asked_to_stop, time.monotonic())
            while progress.epoch < settings.max_epochs and not self._is_out_of_patience():
                self._train_epoch(session)
                self._end_epoch(self._evaluate(session), session)
            if signal_number := session.asked_to_stop():
                raise StoppedError(signal_number)
        return progress

    def _is_out_of_patience(self) -> bool:
        """Whether dev F1 has not risen for ``patience`` epochs; False until the first entity is found."""
        progress = self._progress
        return progress.best_f1 > 0 and progress.epoch - progress.best_epoch >= self._settings.patience

    def _train_epoch(self, session: _Session) -> None:
        """Train on the remaining mini-batches of the current epoch."""
        progress, seed = self._progress, self._settings.seed
        if progress.batch == 0:
            torch.manual_seed(seed * 100_003 + progress.epoch)
        self._model.train()
        for rows in self._sampler.batches(random.Random(f"{seed} {progress.epoch}"))[progress.batch :]:
            started = time.monotonic()
            examples = [self._examples[row] for row in rows]
            loss = self._loss(examples)
            self._step(loss)
            num_tokens = sum(len(example.tags) for example in examples)
            progress.batch += 1
            progress.loss += loss.item() * num_tokens
            progress.num_tokens += num_tokens
            progress.train_seconds += time.monotonic() - started
            if not math.isfinite(progress.loss):
                raise RunFailedError(
                    f"the loss is {loss.item()} in epoch {progress.epoch + 1}; try a lower learning_rate"
                )
            self._pause(session, "epoch", num_tokens)

    def _loss(self, examples: Sequence[Example]) -> Tensor:
        """The mean loss per token of a mini-batch; torch's generator is the only source of randomness."""
        if shares := self._settings.perturbations:
            draw = random.Random(int(torch.randint(2**62, ())))
            examples = [self._annotator.perturbed(example, shares, draw) for example in examples]
        batch = self._encoder.batch([example.sentence.words for example in examples])
        return self._model.loss(batch, targets(examples, self._model.linear.out_features))

    def _step(self, loss: Tensor) -> None:
        """One optimizer step, with a learning rate that falls linearly to zero, and an update of the average."""
        step = self._progress.epoch * self._steps_per_epoch + self._progress.batch
        left = 1 - min(1, step / (self._settings.max_epochs * self._steps_per_epoch))
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * left
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        self._optimizer.step()
        decay = min(self._settings.ema_decay, (1 + step) / (10 + step))  # the first steps are soon forgotten
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), list(self._model.parameters()), 1 - decay)

    def _evaluate(self, session: _Session) -> dict[str, Evaluation]:
        """Scores of the averaged weights on each dev corpus, for the labels that it annotates."""
        found, tagger = self._progress.found, Tagger(self._bundle_with(self._average))
        for name, sentences in self._dev.items():
            done = found.setdefault(name, [])
            for start in range(len(done), len(sentences), _DEV_SLICE):
                started = time.monotonic()
                piece = sentences[start : start + _DEV_SLICE]
                done += [
                    [(span.start, span.end, span.label) for span, _ in spans] for spans in tag_as_served(tagger, piece)
                ]
                self._progress.dev_seconds += time.monotonic() - started
                self._pause(session, "dev", sum(len(sentence.words) for sentence in piece))
        return {
            name: score_spans(
                [sentence.spans for sentence in sentences],
                [[Span(*span) for span in spans] for spans in found[name]],
                label_set(sentences),
            )
            for name, sentences in self._dev.items()
        }

    def _end_epoch(self, evaluations: Mapping[str, Evaluation], session: _Session) -> None:
        """Compare the epoch with the best one, and write the checkpoint and then its outputs."""
        progress = self._progress
        f1 = sum(evaluation.micro.f1 for evaluation in evaluations.values()) / len(evaluations)
        is_best = f1 > progress.best_f1
        dev = {
            name: {
                "f1": round(evaluation.micro.f1, 5),
                "labels": {label: round(score.f1, 5) for label, score in evaluation.labels.items()},
            }
            for name, evaluation in evaluations.items()
        }
        entry: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": round(progress.loss / progress.num_tokens, 5),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "tokens_per_s": round(progress.num_tokens / progress.train_seconds),
            "dev_f1": round(f1, 5),
            "dev": dev,
            "seconds": round(progress.train_seconds + progress.dev_seconds, 1),
        }
        progress.epoch += 1
        if is_best:
            progress.best_f1, progress.best_epoch = f1, progress.epoch
            self._best = {name: tensor.clone() for name, tensor in self._average.items()}
        progress.log.append({**entry, "best_epoch": progress.best_epoch})
        progress.start_epoch()
        self._write_state(session)
        self._write_log()
        if is_best:
            self._write_best()
        session.display.say(
            f"epoch {progress.epoch}/{self._settings.max_epochs}: loss {entry['loss']:.4f}, dev F1 {f1:.2%}"
            f" (best {progress.best_f1:.2%} in epoch {progress.best_epoch}), {entry['tokens_per_s']:,} tokens/s,"
            f" took {duration(entry['seconds'])}, {session.display.time_left()} left"
        )

    def _pause(self, session: _Session, stage: str, num_tokens: int) -> None:
        """Update the display, write a checkpoint if it is due, and stop if a signal was received."""
        progress = self._progress
        session.display.advance(
            num_tokens,
            f"{stage} {progress.epoch + 1}/{self._settings.max_epochs}"
            f"  loss {progress.loss / progress.num_tokens:.4f}"
            f"  {progress.num_tokens / progress.train_seconds / 1000:.1f}k tokens/s"
            f"  best F1 {max(progress.best_f1, 0):.1%}",
        )
        signal_number = session.asked_to_stop()
        if signal_number or time.monotonic() - session.saved_at >= self._checkpoint_seconds:
            self._write_state(session)
        if signal_number:
            raise StoppedError(signal_number)

    def _display(self) -> Display:
        progress = self._progress
        train_tokens = sum(len(self._examples[row].tags) for row in self._sampler.rows(random.Random(0)))
        dev_tokens = sum(len(sentence.words) for sentences in self._dev.values() for sentence in sentences)
        tagged = sum(
            len(sentence.words) for name, spans in progress.found.items() for sentence in self._dev[name][: len(spans)]
        )
        per_epoch = train_tokens + dev_tokens
        return Display(
            total=per_epoch * self._settings.max_epochs, done=per_epoch * progress.epoch + progress.num_tokens + tagged
        )

    def _bundle_with(self, weights: Mapping[str, Tensor]) -> Bundle:
        model: BiLSTMCRF = copy.deepcopy(self._model)
        model.load_state_dict(weights)
        return Bundle(self._bundle.config, self._bundle.chars, self._bundle.vectors, model.eval())

    def _write_state(self, session: _Session) -> None:
        state = {
            "inputs": self._inputs,
            "environment": dict(self._environment),
            "threads": torch.get_num_threads(),
            "model": self._model.state_dict(),
            "average": self._average,
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "progress": asdict(self._progress),
        }
        write_state(self._run / _STATE_FILE, state)
        session.saved_at = time.monotonic()

    def _write_log(self) -> None:
        lines = "".join(f"{json.dumps(entry)}\n" for entry in self._progress.log)
        write_file(self._run / LOG_FILE, lines.encode())

    def _write_best(self) -> None:
        folder = self._run / BEST
        try:
            shutil.rmtree(folder, ignore_errors=True)  # it may be incomplete; the weights are in the state
            self._bundle_with(self._best).save(folder)
        except OSError as error:
            raise RunFailedError(f"{folder}: cannot be written: {error.strerror}") from error


def check_names(config: BundleConfig, train: Collection[str]) -> None:
    """Raise ConfigError if a setting names a corpus that is not in *train*, or a label that the model does not have."""
    for key in ("corpus_shares", "unannotated"):
        if unknown := sorted(getattr(config.training, key).keys() - set(train)):
            raise ConfigError(f"training.{key}: expected names among {', '.join(train)}, got {unknown[0]}")
    Annotator(config.model, config.training.unannotated)


def check_no_run_in(folder: Path) -> None:
    """Raise RunError if *folder* holds a run, which would be overwritten."""
    if (folder / _STATE_FILE).exists():
        raise RunError(f"{folder}: holds a run already; --resume goes on with it, --run DIR makes another")


def check_run_folder(folder: Path, *, resume: bool) -> None:
    """Raise RunError if *folder* holds what a run, one that goes on with *resume*, would replace."""
    if not resume:
        check_no_run_in(folder)
    if (folder / BEST).exists() and not (folder / _STATE_FILE).exists():
        raise RunError(f"{folder}: holds {BEST}/, but no run that it is of; --run DIR takes another folder")


@contextlib.contextmanager
def _deterministic_kernels() -> Iterator[None]:
    """Run the block with torch's deterministic algorithms."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    # Filling uninitialised memory with NaN costs time; nothing here reads any.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        deterministic.fill_uninitialized_memory = was_filled  # type: ignore[attr-defined]


def _flat_settings(config: BundleConfig) -> dict[str, str]:
    """Every setting of *config* by its dotted name."""
    document = json.loads(config.to_json())
    sections = {key: document.pop(key) for key in ("about", "rules", "model", "training")}
    settings = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    return {key: json.dumps(value) for key, value in {**document, **settings}.items()}
