"""The training loop: mini-batches by length, early stopping on dev, resumable at any batch, its best epoch a bundle.

A run folder holds ``state.pt``, from which a run goes on, and what follows
from it: ``log.jsonl`` (one line an epoch) and ``best/``, the bundle of the best
epoch so far.  Both are written behind the state and again on resuming, so it
does not matter between which two files a run is killed.
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
from training.checkpoint import CHECKPOINT_SECONDS, first_difference, read_state, write_file, write_state
from training.corpora import Sentence, label_set
from training.errors import RunError, StoppedError
from training.evaluation import Evaluation, score_spans, tag_as_served
from training.examples import Annotator, Example, targets
from training.interrupts import stop_requests
from training.progress import Display, duration

logger = logging.getLogger(__name__)

BEST = "best"
LOG_FILE = "log.jsonl"
_STATE_FILE = "state.pt"

#: Tokens of a middling sentence: ``batch_size`` sentences of this length fill a mini-batch.
_TYPICAL_LENGTH = 22

#: Dev sentences that are tagged between two looks at the clock.
_DEV_SLICE = 256


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Whole epochs done, evaluation included.
        batch: Mini-batches done of the epoch behind those.
        loss: Sum over the tokens of these mini-batches.
        num_tokens: How many tokens that were.
        train_seconds: Time they took.
        dev_seconds: Time the epoch's evaluation has taken so far.
        found: Spans found in the first sentences of each dev corpus, in an evaluation under way.
        best_f1: The best dev F1 (0 to 1) of a whole epoch.
        best_epoch: Its epoch, counted from 1.
        log: An entry for each whole epoch.
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
        """Forget the epoch that has ended."""
        self.batch, self.loss, self.num_tokens, self.train_seconds, self.dev_seconds = 0, 0.0, 0, 0.0, 0.0
        self.found = {}


@dataclass
class _Session:
    """One call of :meth:`Trainer.fit`; *saved_at* is when the state was last written."""

    display: Display
    asked_to_stop: Callable[[], int | None]
    saved_at: float


class Trainer:
    """Fits one model to *train*, keeps the epoch that is best on *dev*.

    *train* and *dev* are corpora by name.  The F1 that decides is the mean of
    the dev corpora's micro-F1, so that a large one does not outvote the others.

    A run that is interrupted, or killed, and resumed takes the same steps as
    one that is not: order and dropout of an epoch follow from the seed and the
    epoch, and a state within it holds the random generator.

    *inputs* says by name what else the run was given, such as the digests of
    its files: a state with other ones is not resumed.  *environment* says what
    it runs on and with: another one is warned of.  *threads* are the CPU's, by
    default those of the state or PyTorch's own number; with another number sums
    are rounded otherwise, and the weights would be other ones.

    *run* is a folder that exists.
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
        threads: int | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._settings = config.training
        check_names(config, train)
        self._dev = dev
        self._run = run
        self._inputs = {**inputs, **_plain(config)}
        self._environment = environment
        self._threads = threads
        self._checkpoint_seconds = checkpoint_seconds
        if threads:
            torch.set_num_threads(threads)
        counts = Counter(word for sentences in train.values() for sentence in sentences for word in sentence.words)
        torch.manual_seed(self._settings.seed)
        chars = char_vocabulary(counts.items(), self._settings.min_char_count)
        self._bundle = Bundle.new(config, chars, vectors)
        self._model = self._bundle.model
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
        self._rows: dict[str, list[int]] = {}
        for row, example in enumerate(self._examples):
            self._rows.setdefault(example.corpus, []).append(row)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=self._settings.learning_rate, fused=True)
        self._steps_per_epoch = len(self._batches(random.Random(0)))
        self._progress = Progress()
        self._has_begun = False

    def begin(self) -> None:
        """Start from the beginning.

        Raises:
            RunError: the run folder holds another run, which would be lost.
        """
        check_no_run_in(self._run)
        self._has_begun = True

    def resume(self) -> Progress:
        """Go on from the state in the run folder, from the beginning when there is none; where that is comes back.

        Raises:
            RunError: the state is that of another run; the message names a difference.
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
        """Train until the epochs or the patience are used up; the best epoch's bundle is in ``best/``.

        Begins where neither :meth:`begin` nor :meth:`resume` was called.

        Raises:
            RunError: the run folder holds another run or cannot be written to, or the loss is no number any more.
            StoppedError: SIGINT or SIGTERM came, and the state is written.
        """
        settings, progress = self._settings, self._progress
        if not self._has_begun:
            self.begin()
        with self._session() as session:
            while progress.epoch < settings.max_epochs and not self._is_out_of_patience():
                self._train_epoch(session)
                self._end_epoch(self._evaluate(session), session)
            if signal_number := session.asked_to_stop():
                raise StoppedError(signal_number)
        return progress

    def _is_out_of_patience(self) -> bool:
        """True when dev F1 has not risen for long; before the first entity is found there is nothing to fall behind."""
        progress = self._progress
        return progress.best_f1 > 0 and progress.epoch - progress.best_epoch >= self._settings.patience

    def _train_epoch(self, session: _Session) -> None:
        """The mini-batches of the current epoch that are not done yet."""
        progress, seed = self._progress, self._settings.seed
        if progress.batch == 0:
            torch.manual_seed(seed * 100_003 + progress.epoch)
        self._model.train()
        for rows in self._batches(random.Random(f"{seed} {progress.epoch}"))[progress.batch :]:
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
                raise RunError(f"the loss is {loss.item()} in epoch {progress.epoch + 1}; try a lower learning_rate")
            self._pause(session, "epoch", num_tokens)

    def _loss(self, examples: Sequence[Example]) -> Tensor:
        """The loss of one mini-batch, a mean over its tokens; all that it draws comes from torch's generator."""
        if shares := self._settings.perturbations:
            chance = random.Random(int(torch.randint(2**62, ())))
            examples = [self._annotator.perturbed(example, shares, chance) for example in examples]
        batch = self._encoder.batch([example.sentence.words for example in examples])
        return self._model.loss(batch, targets(examples, self._model.linear.out_features))

    def _step(self, loss: Tensor) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)
        self._optimizer.step()
        step = self._num_steps()
        decay = min(self._settings.ema_decay, (1 + step) / (10 + step))  # the first steps are soon forgotten
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), list(self._model.parameters()), 1 - decay)

    def _num_steps(self) -> int:
        return self._progress.epoch * self._steps_per_epoch + self._progress.batch

    def _learning_rate(self) -> float:
        """The rate of the next step; it falls linearly to zero over all epochs."""
        left = 1 - min(1, self._num_steps() / (self._settings.max_epochs * self._steps_per_epoch))
        return self._settings.learning_rate * left

    def _batches(self, shuffle: random.Random) -> list[list[int]]:
        """Indices of the examples of each mini-batch in random order, each of about one length.

        Sentences of one length need no padding, which the fused LSTM kernel
        rewards; short sentences come in larger batches.
        """
        budget = self._settings.batch_size * _TYPICAL_LENGTH
        lengths = [len(example.tags) for example in self._examples]
        rows = self._drawn(shuffle)
        rows.sort(key=lambda row: lengths[row])  # stable: random within one length
        groups: list[list[int]] = []
        for row in rows:
            length = lengths[row]
            fits = groups and len(groups[-1]) * length < budget and length <= lengths[groups[-1][0]] + 1
            if not fits:
                groups.append([])
            groups[-1].append(row)
        shuffle.shuffle(groups)
        return groups

    def _drawn(self, shuffle: random.Random) -> list[int]:
        """Indices of the examples of an epoch in random order, of each corpus as many as its share says."""
        drawn: list[int] = []
        for corpus, rows in self._rows.items():
            share = self._settings.corpus_shares.get(corpus, 1)
            whole = int(share)
            drawn += rows * whole + shuffle.sample(rows, round((share - whole) * len(rows)))
        shuffle.shuffle(drawn)
        return drawn

    def _evaluate(self, session: _Session) -> dict[str, Evaluation]:
        """Scores of the averaged weights on each dev corpus, on the labels that it annotates."""
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
        """Judge the epoch, write the state behind it, and then what follows from the state."""
        progress = self._progress
        f1 = sum(evaluation.micro.f1 for evaluation in evaluations.values()) / len(evaluations)
        is_best = f1 > progress.best_f1
        entry: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": round(progress.loss / progress.num_tokens, 5),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "tokens_per_s": round(progress.num_tokens / progress.train_seconds),
            "dev_f1": round(f1, 5),
            "dev": {
                name: {
                    "f1": round(evaluation.micro.f1, 5),
                    "labels": {label: round(score.f1, 5) for label, score in evaluation.labels.items()},
                }
                for name, evaluation in evaluations.items()
            },
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
        """Between two pieces of work: show how far the run is, write the state when it is due, stop when asked to."""
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

    @contextlib.contextmanager
    def _session(self) -> Iterator[_Session]:
        """What :meth:`fit` needs around its epochs: a display, signals that wait, and kernels that sum in one order."""
        per_epoch = sum(len(self._examples[row].tags) for row in self._drawn(random.Random(0))) + sum(
            len(sentence.words) for sentences in self._dev.values() for sentence in sentences
        )
        progress = self._progress
        tagged = sum(
            len(sentence.words) for name, spans in progress.found.items() for sentence in self._dev[name][: len(spans)]
        )
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        was_filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory that it has not written, which would be filled with NaN.
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            with (
                Display(
                    total=per_epoch * self._settings.max_epochs,
                    done=per_epoch * progress.epoch + progress.num_tokens + tagged,
                ) as display,
                stop_requests() as asked_to_stop,
            ):
                yield _Session(display, asked_to_stop, time.monotonic())
        finally:
            torch.use_deterministic_algorithms(was_deterministic)
            deterministic.fill_uninitialized_memory = was_filled  # type: ignore[attr-defined]

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
            shutil.rmtree(folder, ignore_errors=True)  # it may be half of one; the weights are in the state
            self._bundle_with(self._best).save(folder)
        except OSError as error:
            raise RunError(f"{folder}: cannot be written: {error.strerror}") from error


def check_names(config: BundleConfig, train: Collection[str]) -> None:
    """Refuse settings of corpora that are not in *train*, by name, or of labels that the model has not.

    Raises:
        ConfigError: names the setting and what it names.
    """
    for key in ("corpus_shares", "unannotated"):
        if unknown := sorted(getattr(config.training, key).keys() - set(train)):
            raise ConfigError(f"training.{key}: expected names among {', '.join(train)}, got {unknown[0]}")
    Annotator(config.model, config.training.unannotated)


def check_no_run_in(folder: Path) -> None:
    """Refuse a run folder that holds a run, which would be lost.

    Raises:
        RunError: it does.
    """
    if (folder / _STATE_FILE).exists():
        raise RunError(f"{folder}: holds a run already; --resume goes on with it, --run DIR makes another")


def _plain(config: BundleConfig) -> dict[str, str]:
    """Every setting of *config* by its dotted name."""
    document = json.loads(config.to_json())
    sections = {key: document.pop(key) for key in ("model", "training")}
    settings = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    return {key: json.dumps(value) for key, value in {**document, **settings}.items()}
