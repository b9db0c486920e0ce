"""A real training run on a made-up corpus: it learns, resumes to the same weights, and its checkpoint is a bundle."""

import json

import numpy as np
import pytest
import torch

from handler.bundle import Bundle
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.labels import Span
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.corpora import Sentence
from training.errors import RunError
from training.evaluation import evaluate
from training.trainer import BEST, Trainer

NAMES = ["Ann", "Bob", "Cleo", "Dora"]
PLACES = ["Paris", "Rome", "Oslo"]
WORDS = ["lives", "in", "and", "works", ".", *(name.lower() for name in NAMES + PLACES)]


def sentences():
    for name in NAMES:
        for place in PLACES:
            yield Sentence((name, "lives", "in", place, "."), (Span(0, 1, "PER"), Span(3, 4, "LOC")))
            yield Sentence(("In", "New", place, name, "works"), (Span(1, 3, "LOC"), Span(3, 4, "PER")))
            yield Sentence(("and", name, "in", place), (Span(1, 2, "PER"), Span(3, 4, "LOC")))


def new_trainer(run, **settings):
    vectors = np.random.default_rng(1).normal(size=(len(WORDS), 8)).astype(np.float32)
    model = ModelConfig(labels=("LOC", "PER"), word_dim=8, char_dim=5, char_filters=6, case_dim=3, hidden_dim=16)
    training = TrainingConfig(
        **{"max_epochs": 4, "batch_size": 2, "learning_rate": 0.02, "ema_decay": 0.9, "min_char_count": 1, **settings}
    )
    corpus = list(sentences())
    return Trainer(
        config=BundleConfig(name="toy", version="1.0", model=model, training=training),
        vectors=WordVectors.new(WORDS, vectors, "float16"),
        train=corpus,
        dev={"dev": corpus[::3]},
        run=run,
    )


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(bundle):
    return {name: tensor.numpy().tobytes() for name, tensor in bundle.model.state_dict().items()}


def test_it_learns_and_its_best_epoch_is_a_bundle(tmp_path):
    progress = new_trainer(tmp_path / "run", max_epochs=25, dropout=0.2).fit()

    tagger = Tagger.load(tmp_path / "run" / BEST)
    assert progress.best_f1 > 0.95
    assert evaluate(tagger, list(sentences())).micro.f1 > 0.95
    assert [(e.text, e.label) for e in tagger.tag(["Cleo lives in Oslo."])[0]] == [("Cleo", "PER"), ("Oslo", "LOC")]


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    new_trainer(tmp_path / "whole").fit()
    interrupted = new_trainer(tmp_path / "parts")
    epoch, interrupted._settings = interrupted._epoch, interrupted._settings

    def stop_in_the_third_epoch(number):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(number)

    interrupted._epoch = stop_in_the_third_epoch
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit()
    resumed = new_trainer(tmp_path / "parts")
    assert resumed.resume().epoch == 2
    resumed.fit()

    states = [torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("whole", "parts")]
    for name, tensor in states[0]["model"].items():
        torch.testing.assert_close(tensor, states[1]["model"][name], rtol=0, atol=0)
    assert weights(Bundle.load(tmp_path / "whole" / BEST)) == weights(Bundle.load(tmp_path / "parts" / BEST))


def test_a_seed_decides_the_weights(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        new_trainer(tmp_path / name, seed=seed, max_epochs=1).fit()

    a, b, c = (weights(Bundle.load(tmp_path / name / BEST)) for name in "abc")
    assert a == b
    assert a != c


def test_the_run_ends_when_dev_no_longer_gets_better(tmp_path):
    progress = new_trainer(tmp_path, max_epochs=40, patience=3).fit()

    assert progress.epoch == progress.best_epoch + 3 < 40


def test_the_log_has_a_line_for_every_epoch(tmp_path):
    new_trainer(tmp_path, max_epochs=2).fit()

    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert all(entry.keys() >= {"loss", "tokens_per_s", "dev_f1", "dev", "best_epoch"} for entry in entries)


def test_a_run_is_not_lost_to_another_one(tmp_path):
    new_trainer(tmp_path, max_epochs=1).fit()
    before = (tmp_path / "state.pt").read_bytes()

    with pytest.raises(RunError, match="holds a run already; --resume goes on with it"):
        new_trainer(tmp_path, max_epochs=2).fit()

    assert (tmp_path / "state.pt").read_bytes() == before


def test_resuming_needs_a_run_of_the_same_configuration(tmp_path):
    with pytest.raises(RunError, match=r"state\.pt: missing"):
        new_trainer(tmp_path).resume()
    new_trainer(tmp_path, max_epochs=1).fit()

    with pytest.raises(RunError, match="another configuration"):
        new_trainer(tmp_path, max_epochs=2).resume()


def test_batches_hold_every_sentence_once_and_sentences_of_like_length(tmp_path):
    import random

    trainer = new_trainer(tmp_path)

    groups = list(trainer._batches(random.Random(5)))

    assert sorted(row for group in groups for row in group) == list(range(len(trainer._train)))
    for group in groups:
        lengths = {len(trainer._train[row].words) for row in group}
        assert max(lengths) - min(lengths) <= 1
