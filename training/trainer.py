"""The training loop: mini-batches by length, early stopping on dev, resumable, its checkpoint a bundle.

A run folder holds ``log.jsonl`` (one line an epoch), ``state.pt`` (weights,
their moving average, the optimiser and the place in the schedule after the
last whole epoch) and ``best/``, the bundle of the best epoch so far.
"""

from __future__ import annotations

import copy
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from handler.bundle import Bundle, tags_of
from handler.config import BundleConfig
from handler.features import FeatureEncoder, char_vocabulary
from handler.labels import spans_to_tags
from handler.model import BiLSTMCRF
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.corpora import Sentence
from training.errors import RunError
from training.evaluation import Evaluation, evaluate

logger = logging.getLogger(__name__)

BEST = "best"
_STATE_FILE = "state.pt"
_LOG_FILE = "log.jsonl"


@dataclass
class Progress:
    """How far a run has come: whole epochs done, the best dev F1 (0 to 1) and its epoch, counted from 1."""

    epoch: int = 0
    best_f1: float = -1.0
    best_epoch: int = 0


class Trainer:
    """Fits one model to *train*, keeps the epoch that is best on *dev*.

    *dev* is one or more named corpora; the F1 that decides is the mean of
    their micro-F1, so that a large corpus does not outvote the others.  A run
    that is interrupted and resumed takes the same steps as one that is not:
    every epoch draws from a generator of its own.
    """

    def __init__(
        self,
        *,
        config: BundleConfig,
        vectors: WordVectors,
        train: Sequence[Sentence],
        dev: Mapping[str, Sequence[Sentence]],
        run: Path,
    ) -> None:
        self._settings = config.training
        self._train = [sentence for sentence in train if sentence.words]
        self._dev = dev
        self._run = run
        counts = Counter(word for sentence in self._train for word in sentence.words)
        torch.manual_seed(self._settings.seed)
        chars = char_vocabulary(counts.items(), self._settings.min_char_count)
        self._bundle = Bundle.new(config, chars, vectors)
        self._model = self._bundle.model
        self._average = {name: tensor.detach().clone() for name, tensor in self._model.named_parameters()}
        self._encoder = FeatureEncoder(
            vectors=vectors, chars=chars, max_word_chars=config.model.max_word_chars, cache_words=len(counts)
        )
        tag_ids = {tag: i for i, tag in enumerate(tags_of(config.model))}
        self._tags = [
            [tag_ids[tag] for tag in spans_to_tags(sentence.spans, len(sentence.words), config.model.scheme)]
            for sentence in self._train
        ]
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=self._settings.learning_rate, fused=True)
        self._steps_per_epoch = sum(1 for _ in self._batches(random.Random(0)))
        self._progress = Progress()

    def resume(self) -> Progress:
        """Continue behind the last whole epoch of the run folder; where that is comes back.

        Raises:
            RunError: there is no state, or it belongs to another configuration.
        """
        path = self._run / _STATE_FILE
        if not path.exists():
            raise RunError(f"{path}: missing, there is no whole epoch to resume from")
        state = torch.load(path, weights_only=True)
        if state["config"] != self._bundle.config.to_json().decode():
            raise RunError(f"{path}: belongs to a run with another configuration")
        self._model.load_state_dict(state["model"])
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._progress = Progress(**state["progress"])
        return self._progress

    def fit(self) -> Progress:
        """Train until the epochs or the patience are used up; the best epoch's bundle is in ``best/``.

        Raises:
            RunError: the run folder holds another run, which would be lost.
        """
        settings, progress = self._settings, self._progress
        if progress.epoch == 0 and (self._run / _STATE_FILE).exists():
            raise RunError(f"{self._run}: holds a run already; --resume goes on with it, --run DIR makes another")
        self._run.mkdir(parents=True, exist_ok=True)
        while progress.epoch < settings.max_epochs and progress.epoch - progress.best_epoch < settings.patience:
            started = time.monotonic()
            loss = self._epoch(progress.epoch)
            seconds = time.monotonic() - started
            model = self._averaged()
            evaluations = self._evaluate(model)
            f1 = sum(evaluation.micro.f1 for evaluation in evaluations.values()) / len(evaluations)
            progress.epoch += 1
            if f1 > progress.best_f1:
                progress.best_f1, progress.best_epoch = f1, progress.epoch
                best = Bundle(self._bundle.config, self._bundle.chars, self._bundle.vectors, model)
                best.save(self._run / BEST)
            self._write_state()
            self._log(
                epoch=progress.epoch,
                loss=round(loss, 5),
                tokens_per_s=round(sum(map(len, self._tags)) / seconds),
                dev_f1=round(f1, 5),
                dev={name: round(evaluation.micro.f1, 5) for name, evaluation in evaluations.items()},
                best_epoch=progress.best_epoch,
                seconds=round(time.monotonic() - started, 1),
            )
        return progress

    def _epoch(self, epoch: int) -> float:
        """One pass over the training sentences; the mean loss a token comes back."""
        torch.manual_seed(self._settings.seed * 100_003 + epoch)
        shuffle = random.Random(f"{self._settings.seed} {epoch}")
        self._model.train()
        total, num_tokens, started = 0.0, 0, time.monotonic()
        bar = tqdm(
            self._batches(shuffle),
            desc=f"epoch {epoch + 1}/{self._settings.max_epochs}",
            total=self._steps_per_epoch,
            unit="batch",
            disable=None,  # no bar where nobody looks
            leave=False,
        )
        for step, rows in enumerate(bar, epoch * self._steps_per_epoch):
            batch = self._encoder.batch([self._train[row].words for row in rows])
            tags = nn.utils.rnn.pad_sequence([torch.tensor(self._tags[row]) for row in rows], batch_first=True)
            loss = self._model.loss(batch, tags)
            self._step(loss, step)
            count = int(batch.mask.sum())
            total, num_tokens = total + loss.item() * count, num_tokens + count
            bar.set_postfix(
                loss=f"{total / num_tokens:.4f}",
                tokens_per_s=f"{num_tokens / (time.monotonic() - started):.0f}",
                dev_f1=f"{max(self._progress.best_f1, 0):.2%}",
                refresh=False,
            )
        return total / num_tokens

    def _step(self, loss: Tensor, step: int) -> None:
        settings = self._settings
        left = 1 - step / (settings.max_epochs * self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * left
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._model.parameters(), settings.clip_norm)
        self._optimizer.step()
        decay = min(settings.ema_decay, (1 + step) / (10 + step))  # the first steps are soon forgotten
        with torch.no_grad():
            average = list(self._average.values())
            torch._foreach_lerp_(average, list(self._model.parameters()), 1 - decay)

    def _batches(self, shuffle: random.Random) -> Iterator[list[int]]:
        """Rows of the mini-batches in random order, each of about one length.

        Sentences of one length need no padding, which the fused LSTM kernel
        rewards; short sentences come in larger batches.
        """
        budget = self._settings.batch_size * _TYPICAL_LENGTH
        rows = list(range(len(self._train)))
        shuffle.shuffle(rows)
        rows.sort(key=lambda row: len(self._tags[row]))  # stable: random within one length
        groups: list[list[int]] = []
        for row in rows:
            length = len(self._tags[row])
            fits = groups and len(groups[-1]) * length < budget and length <= len(self._tags[groups[-1][0]]) + 1
            if not fits:
                groups.append([])
            groups[-1].append(row)
        shuffle.shuffle(groups)
        yield from groups

    def _averaged(self) -> BiLSTMCRF:
        model = copy.deepcopy(self._model)
        if self._settings.ema_decay:
            model.load_state_dict(self._average)
        return model.eval()

    def _evaluate(self, model: BiLSTMCRF) -> dict[str, Evaluation]:
        bundle = self._bundle
        tagger = Tagger(Bundle(bundle.config, bundle.chars, bundle.vectors, copy.deepcopy(model)))
        evaluations = {}
        for name, sentences in tqdm(self._dev.items(), desc="dev", unit="corpus", disable=None, leave=False):
            annotated = {span.label for sentence in sentences for span in sentence.spans}
            evaluations[name] = evaluate(tagger, sentences, annotated)
        return evaluations

    def _write_state(self) -> None:
        state = {
            "config": self._bundle.config.to_json().decode(),
            "model": self._model.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "progress": vars(self._progress),
        }
        new = self._run / f"{_STATE_FILE}.new"
        torch.save(state, new)
        new.replace(self._run / _STATE_FILE)

    def _log(self, **entry: Any) -> None:
        line = json.dumps(entry)
        with (self._run / _LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        logger.info("%s", line)


#: Tokens of a middling sentence: ``batch_size`` sentences of this length fill a mini-batch.
_TYPICAL_LENGTH = 22
