"""A run that goes on from another bundle's weights."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from handler.bundle import Bundle, tags_of
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.labels import Span, split_tag
from handler.tagger import Tagger
from handler.vectors import WordVectors
from nerserve.cli import main
from training.corpora import Sentence, write_conll
from training.initial import take_weights
from training.scoring.evaluation import evaluate
from training.trainer import BEST, Trainer

SENTENCES = [["the", "paris", "of", "Obama", "."], ["Apple", ","], ["obama", "the", "1984", "Xyz", "z", "apple"]]


def with_labels(bundle, labels):
    """An untrained bundle like *bundle*, with other labels."""
    config = replace(bundle.config, model=replace(bundle.config.model, labels=labels))
    return Bundle.new(config, bundle.chars, bundle.vectors)


def emissions(bundle):
    bundle.model.eval()
    with torch.no_grad():
        return bundle.model.emissions(bundle.encoder().batch(SENTENCES)).numpy()


@pytest.mark.parametrize("labels", [("LOC", "PER"), ("PER", "LOC"), ("PER",), ("ORG", "PER", "DATE"), ("ORG",)])
def test_labels_in_common_score_as_before(make_bundle, labels):
    source = make_bundle()
    target = with_labels(source, labels)
    fresh = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}

    take_weights(source, target)

    old, new = tags_of(source.config.model), tags_of(target.config.model)
    shared = [tag for tag in new if tag in old]
    assert {split_tag(tag)[1] for tag in shared} == {"", *({"LOC", "PER"} & set(labels))}
    at_old, at_new = [old.index(tag) for tag in shared], [new.index(tag) for tag in shared]
    np.testing.assert_allclose(emissions(target)[..., at_new], emissions(source)[..., at_old], rtol=0, atol=1e-5)
    for i, j in zip(at_new, at_old, strict=True):
        assert target.model.crf.start_weights[i] == source.model.crf.start_weights[j]
        assert target.model.crf.end_weights[i] == source.model.crf.end_weights[j]
        for k, m in zip(at_new, at_old, strict=True):
            assert target.model.crf.transition_weights[i, k] == source.model.crf.transition_weights[j, m]
    for row in set(range(len(new))) - set(at_new):  # those of new labels
        assert (target.model.linear.weight[row] == fresh["linear.weight"][row]).all()
        assert (target.model.crf.transition_weights[row] == fresh["crf.transition_weights"][row]).all()


def test_with_all_labels_in_common_the_answers_are_those_of_the_source(make_bundle):
    source = make_bundle()
    target = with_labels(source, ("LOC", "PER"))

    take_weights(source, target)

    text = ["the paris of Obama.", "Apple, the 1984 obama"]
    assert Tagger(target).tag(text) == Tagger(source).tag(text)


ONSETS, ENDS = "B D F G K L M N P R S T".split(), "ann ell irk ock usk".split()
FRAMES = ["{} lives in {} .", "{} met {} again .", "in {} it rains , says {} .", "the mayor of {} thanks {} ."]
FRAME_LABELS = [("PER", "LOC"), ("PER", "PER"), ("LOC", "PER"), ("LOC", "PER")]
OTHER = "lives in met again it rains , says the mayor of thanks .".split()


def corpus(count, seed, stems):
    """*count* sentences; places end in -ville, and are made of *stems* as the people are."""
    chance = random.Random(seed)
    for _ in range(count):
        frame, labels = chance.choice(list(zip(FRAMES, FRAME_LABELS, strict=True)))
        names = [f"{chance.choice(stems)}{'ville' if label == 'LOC' else ''}" for label in labels]
        words = frame.format(*names).split()
        spans = [
            Span(words.index(name), words.index(name) + 1, label) for name, label in zip(names, labels, strict=True)
        ]
        if len(set(names)) == len(names):
            yield Sentence(tuple(words), tuple(sorted(spans)))


def trainer(run, sentences, dev, *, init=None, max_epochs):
    run.mkdir()
    vectors = WordVectors.new(
        OTHER, np.random.default_rng(1).normal(size=(len(OTHER), 8)).astype(np.float32), "float32"
    )
    model = ModelConfig(labels=("LOC", "PER"), word_dim=8, char_dim=8, char_filters=16, case_dim=3, hidden_dim=16)
    training = TrainingConfig(
        max_epochs=max_epochs,
        patience=99,
        batch_size=4,
        learning_rate=0.01,
        ema_decay=0.9,
        min_char_count=1,
        perturbations={},
    )
    return Trainer(
        config=BundleConfig(name="toy", version="1.0", model=model, training=training),
        vectors=init.vectors if init else vectors,
        train={"train": sentences},
        dev={"dev": dev},
        run=run,
        init=init,
        threads=1,
    )


def test_a_fine_tuning_on_a_few_sentences_beats_them_alone(tmp_path):
    threads = torch.get_num_threads()
    stems = [onset + end for onset in ONSETS for end in ENDS]
    many, few = list(corpus(200, 1, stems[::2])), list(corpus(4, 2, stems[1::4]))
    unseen = list(corpus(60, 3, stems[3::4]))
    trainer(tmp_path / "large", many, unseen[:8], max_epochs=10).fit()
    source = Bundle.load(tmp_path / "large" / BEST)

    scores = {}
    for name, init in (("alone", None), ("tuned", source)):
        trainer(tmp_path / name, few, few, init=init, max_epochs=3).fit()
        scores[name] = evaluate(Tagger.load(tmp_path / name / BEST), unseen).micro.f1

    torch.set_num_threads(threads)
    assert scores["tuned"] > scores["alone"] + 0.4


@pytest.fixture
def files(make_bundle, tmp_path, monkeypatch):
    """A corpus of another label beside a bundle, and settings that train it in a moment."""
    make_bundle().save(tmp_path / "tiny")
    write_conll(
        tmp_path / "train.conll", [Sentence(("Apple", "of", "paris"), (Span(0, 1, "ORG"), Span(2, 3, "LOC")))] * 9
    )
    write_conll(
        tmp_path / "dev.conll", [Sentence(("the", "Apple", "paris"), (Span(1, 2, "ORG"), Span(2, 3, "LOC")))] * 9
    )
    (tmp_path / "config.json").write_text('{"training": {"max_epochs": 1}}')
    (tmp_path / "wide.json").write_text('{"model": {"hidden_dim": 10}}')
    (tmp_path / "bio.json").write_text('{"model": {"scheme": "BIO"}}')
    (tmp_path / "narrow.txt").write_text("the 1 2\nparis 3 4\n")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


TRAIN = "train --train train.conll --dev dev.conll --out new --init tiny --threads 1 --config".split()


def test_the_command_takes_the_network_the_characters_and_the_vectors_of_the_bundle(files, capsys):
    assert main([*TRAIN, "config.json"]) == 0, capsys.readouterr().err

    source, new = Bundle.load(files / "tiny"), Bundle.load(files / "new")
    assert new.config.model == replace(source.config.model, labels=("LOC", "ORG"))
    assert list(new.chars) == list(source.chars)
    for path in (files / "tiny" / "vectors").iterdir():
        assert path.read_bytes() == (files / "new" / "vectors" / path.name).read_bytes()
    assert source.digest in (files / "new" / "metrics.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["wide.json"], "wide.json: model.hidden_dim: expected 8, as the bundle of --init has, got 10"),
        (["bio.json"], "bio.json: model.scheme: expected IOBES, as the bundle of --init has, got BIO"),
        (
            ["config.json", "--vectors", "narrow.txt"],
            "--vectors: expected a width of 6, as the bundle of --init has, got 2",
        ),
        (["config.json", "--init", "none"], "config.json: missing"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(files, capsys, arguments, problem):
    assert main([*TRAIN, *arguments]) != 0

    assert problem in capsys.readouterr().err.splitlines()[-1]
    assert not (files / "new").exists()
