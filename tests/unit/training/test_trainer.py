"""Real training runs on a made-up corpus: they learn, obey their seed, say how they go, and stop when asked to."""

import json
import os
import random
import signal

import numpy as np
import pytest
import torch

from handler.bundle import Bundle
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.errors import ConfigError
from handler.labels import Span
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.corpora import Sentence
from training.errors import RunError, StoppedError
from training.scoring.evaluation import evaluate
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


def new_trainer(run, *, extra=(), inputs=None, environment=None, threads=1, **settings):
    vectors = np.random.default_rng(1).normal(size=(len(WORDS), 8)).astype(np.float32)
    model = ModelConfig(labels=("LOC", "PER"), word_dim=8, char_dim=5, char_filters=6, case_dim=3, hidden_dim=16)
    training = TrainingConfig(
        **{"max_epochs": 4, "batch_size": 2, "learning_rate": 0.02, "ema_decay": 0.9, "min_char_count": 1, **settings}
    )
    corpus = list(sentences())
    run.mkdir(exist_ok=True)
    return Trainer(
        config=BundleConfig(name="toy", version="1.0", model=model, training=training),
        vectors=WordVectors.new(WORDS, vectors, "float16"),
        train={"news": [*corpus[:20], *extra], "web": corpus[20:]},
        dev={"dev": corpus[::3], "people": corpus[1::3]},
        run=run,
        inputs=inputs or {},
        environment=environment or {},
        threads=threads,
    )


@pytest.fixture(autouse=True)
def same_number_of_threads_afterwards():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def weights(run):
    return (run / BEST / "weights.npz").read_bytes()


def test_it_learns_and_its_best_epoch_is_a_bundle(tmp_path):
    progress = new_trainer(tmp_path / "run", max_epochs=25, dropout=0.2).fit()

    tagger = Tagger.load(tmp_path / "run" / BEST)
    assert progress.best_f1 > 0.95
    assert evaluate(tagger, list(sentences())).micro.f1 > 0.95
    assert [(e.text, e.label) for e in tagger.tag(["Cleo lives in Oslo."])[0]] == [("Cleo", "PER"), ("Oslo", "LOC")]


def test_dev_words_are_tagged_as_the_server_parts_them(tmp_path):
    def f1(**parts):
        (tmp_path / str(len(parts))).mkdir()
        trainer = new_trainer(tmp_path / str(len(parts)), max_epochs=25, dropout=0.2)
        trainer._dev = {
            "dev": [Sentence(("and", "Ann", "in", "Rome"), (Span(1, 2, "PER"), Span(3, 4, "LOC")), **parts)]
        }
        return trainer.fit().best_f1

    assert f1() == 1
    assert f1(joined=(2,)) < 1  # "Annin" is no word of its own, and nothing that is found ends behind "Ann"


def test_half_an_emoji_in_the_texts_does_not_end_the_run(tmp_path):
    cut = [Sentence(("Ann", "\ud83d"), (Span(0, 1, "PER"),)) for _ in range(4)]
    trainer = new_trainer(tmp_path / "run", extra=cut, max_epochs=1)

    trainer.fit()

    chars = Bundle.load(tmp_path / "run" / BEST).chars
    assert "A" in chars
    assert "\ud83d" not in chars


def test_a_seed_decides_the_weights(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        new_trainer(tmp_path / name, seed=seed, max_epochs=1).fit()

    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_the_run_ends_when_dev_no_longer_gets_better(tmp_path):
    progress = new_trainer(tmp_path, max_epochs=40, patience=3).fit()

    assert progress.epoch == progress.best_epoch + 3 < 40


def test_the_log_has_a_line_for_every_epoch(tmp_path):
    new_trainer(tmp_path, max_epochs=2).fit()

    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2]
    for entry in entries:
        assert entry.keys() == {
            "epoch", "loss", "learning_rate", "tokens_per_s", "dev_f1", "dev", "seconds", "best_epoch"
        }  # fmt: skip
        assert entry["dev"].keys() == {"dev", "people"}
        assert entry["dev"]["dev"]["labels"].keys() == {"LOC", "PER"}
        assert entry["dev_f1"] == pytest.approx(sum(corpus["f1"] for corpus in entry["dev"].values()) / 2, abs=1e-5)
    assert entries[0]["learning_rate"] > entries[1]["learning_rate"] > 0


def test_an_epoch_is_logged_for_people_too(tmp_path, caplog):
    with caplog.at_level("INFO"):
        new_trainer(tmp_path, max_epochs=1).fit()

    (line,) = [record.getMessage() for record in caplog.records if "epoch 1/1" in record.getMessage()]
    for part in ("loss ", "dev F1 ", "(best ", "tokens/s", "left"):
        assert part in line


def test_a_run_is_not_lost_to_another_one(tmp_path):
    new_trainer(tmp_path, max_epochs=1).fit()
    before = (tmp_path / "state.pt").read_bytes()

    with pytest.raises(RunError, match="holds a run already; --resume goes on with it"):
        new_trainer(tmp_path, max_epochs=2).fit()

    assert (tmp_path / "state.pt").read_bytes() == before


def test_resuming_where_nothing_was_begun_starts_from_the_beginning(tmp_path, caplog):
    new_trainer(tmp_path / "begun", max_epochs=2).fit()
    trainer = new_trainer(tmp_path / "resumed", max_epochs=2)

    with caplog.at_level("INFO"):
        assert trainer.resume().epoch == 0
    trainer.fit()

    assert "holds no state, the run starts from the beginning" in caplog.text
    assert weights(tmp_path / "resumed") == weights(tmp_path / "begun")


def test_a_finished_run_is_only_written_again(tmp_path):
    finished = new_trainer(tmp_path, max_epochs=2).fit()
    before = weights(tmp_path)
    (tmp_path / BEST / "config.json").unlink()

    trainer = new_trainer(tmp_path, max_epochs=2)
    trainer.resume()

    assert trainer.fit() == finished
    assert Bundle.load(tmp_path / BEST).config.name == "toy"
    assert weights(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"max_epochs": 2}, "training.max_epochs: it began with 1, and not with 2"),
        (
            {"inputs": {"--train a": "sha256:1", "--label-map": "no file"}},
            "--train b: it began with",
        ),
        ({"inputs": {"--train a": "sha256:9", "--train b": "2"}}, "--train a: it began with sha256:1.*sha256:9"),
        ({"inputs": {"--train b": "2", "--train a": "sha256:1"}}, "--train b: it began with another order"),
        ({"threads": 2}, "--threads: it began with 1, and not with 2"),
    ],
)
def test_the_state_of_another_run_is_refused_with_the_difference(tmp_path, changes, difference):
    given = {"max_epochs": 1, "inputs": {"--train a": "sha256:1", "--train b": "2"}}
    new_trainer(tmp_path, **given).fit()

    with pytest.raises(RunError, match=rf"state\.pt: the state of another run; {difference}"):
        new_trainer(tmp_path, **(given | changes)).resume()


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_state_that_is_none_is_refused(tmp_path, content):
    if content is None:
        torch.save({"config": "of an older version"}, tmp_path / "state.pt")
    else:
        (tmp_path / "state.pt").write_bytes(content)

    with pytest.raises(RunError, match=r"state\.pt: (cannot be read as the state|expected a state of format)"):
        new_trainer(tmp_path).resume()


def test_a_run_goes_on_with_the_threads_that_it_began_with(tmp_path):
    new_trainer(tmp_path, max_epochs=1, threads=1).fit()
    torch.set_num_threads(2)

    new_trainer(tmp_path, max_epochs=1, threads=None).resume()

    assert torch.get_num_threads() == 1


def test_other_libraries_are_warned_of(tmp_path, caplog):
    new_trainer(tmp_path, max_epochs=1, environment={"torch": "2.0"}).fit()

    new_trainer(tmp_path, max_epochs=1, environment={"torch": "2.1"}).resume()

    assert "torch: it began with 2.0, and not with 2.1" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_state_and_ends_the_run(tmp_path, number):
    new_trainer(tmp_path / "whole").fit()
    trainer = new_trainer(tmp_path / "parts")
    batches = iter(range(20))
    loss = trainer._loss

    def loss_of_a_batch(examples):
        if next(batches) == 13:
            os.kill(os.getpid(), number)
        return loss(examples)

    trainer._loss = loss_of_a_batch
    with pytest.raises(StoppedError, match="interrupted") as stopped:
        trainer.fit()
    resumed = new_trainer(tmp_path / "parts")
    progress = resumed.resume()

    assert stopped.value.exit_status == 128 + number
    assert progress.epoch * resumed._steps_per_epoch + progress.batch == 14
    assert progress.batch > 0
    resumed.fit()
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_a_full_disk_is_one_error_and_costs_no_state(tmp_path):
    trainer = new_trainer(tmp_path, max_epochs=2)
    train_epoch = trainer._train_epoch

    def full_from_the_second_epoch(session):
        if trainer._progress.epoch == 1:
            (tmp_path / "state.pt.new").symlink_to("/dev/full")
        train_epoch(session)

    trainer._train_epoch = full_from_the_second_epoch
    with pytest.raises(RunError, match=r"state\.pt: cannot be written: No space left on device"):
        trainer.fit()

    assert new_trainer(tmp_path, max_epochs=2).resume().epoch == 1


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    trainer = new_trainer(tmp_path)
    trainer._loss = lambda _: sum(parameter.sum() for parameter in trainer._model.parameters()) * float("nan")

    with pytest.raises(RunError, match="the loss is nan in epoch 1; try a lower learning_rate"):
        trainer.fit()


def test_batches_hold_every_sentence_once_and_sentences_of_like_length(tmp_path):
    trainer = new_trainer(tmp_path)

    groups = trainer._sampler.batches(random.Random(5))

    assert sorted(row for group in groups for row in group) == list(range(len(trainer._examples)))
    for group in groups:
        lengths = {len(trainer._examples[row].tags) for row in group}
        assert max(lengths) - min(lengths) <= 1


def test_examples_know_their_corpus(tmp_path):
    examples = new_trainer(tmp_path)._examples

    assert [example.corpus for example in examples] == ["news"] * 20 + ["web"] * 16


def test_an_epoch_sees_each_corpus_as_often_as_its_share_says(tmp_path):
    trainer = new_trainer(tmp_path, corpus_shares={"news": 0.5, "web": 2.25})

    rows = [row for group in trainer._sampler.batches(random.Random(5)) for row in group]

    corpora = [trainer._examples[row].corpus for row in rows]
    assert corpora.count("news") == 10
    assert corpora.count("web") == 2 * 16 + 4
    assert {trainer._examples[row].sentence for row in rows} >= {e.sentence for e in trainer._examples[20:]}


@pytest.mark.parametrize("setting", [{"corpus_shares": {"new": 1}}, {"unannotated": {"new": ("PER",)}}])
def test_a_setting_for_a_corpus_that_is_not_there_is_refused(tmp_path, setting):
    with pytest.raises(ConfigError, match=r"expected names among news, web, got new"):
        new_trainer(tmp_path, **setting)


def test_a_corpus_without_a_label_does_not_unteach_it(tmp_path):
    def f1_on_places(**settings):
        run = tmp_path / str(len(settings))
        trainer = new_trainer(run, max_epochs=25, dropout=0.2, corpus_shares={"news": 0.25, "web": 3}, **settings)
        trainer._examples = [  # the web names no places
            trainer._annotator.example(
                sentence._replace(spans=tuple(s for s in sentence.spans if corpus == "news" or s.label == "PER")),
                corpus,
            )
            for sentence, _, corpus in trainer._examples
        ]
        trainer.fit()
        return evaluate(Tagger.load(run / BEST), list(sentences()), {"LOC"}).micro.f1

    assert f1_on_places(unannotated={"web": ("LOC",)}) > 0.9
    assert f1_on_places() < 0.7


def test_patience_does_not_run_out_before_anything_is_found(tmp_path):
    trainer = new_trainer(tmp_path, max_epochs=12, patience=1, learning_rate=1e-9)
    for bias in (trainer._model.linear.bias.data, trainer._average["linear.bias"]):
        bias[0] = 1e3  # O

    progress = trainer.fit()

    assert progress.best_f1 == 0
    assert progress.epoch == 12
