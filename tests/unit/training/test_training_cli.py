"""``nerserve train``, ``evaluate`` and ``open-corpora`` as a person runs them."""

import json
import subprocess
import sys

import gensim
import numpy as np
import pytest

CORPUS = """\
Ann\tB-person
lives\tO
in\tO
Oslo\tB-place
.\tO

Bob\tB-person
met\tO
Ann\tB-person
on\tO
Monday\tB-day

"""
MAP = {"person": "PER", "place": "LOC", "day": "O"}


def nerserve(folder, *arguments):
    command = [sys.executable, "-m", "ops.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "news.conll").write_text(CORPUS * 8)
    (folder / "map.json").write_text(json.dumps(MAP))
    config = {"model": {"hidden_dim": 16}, "training": {"max_epochs": 15, "patience": 15, "learning_rate": 0.02}}
    (folder / "config.json").write_text(json.dumps(config))
    vectors = gensim.models.KeyedVectors(6)
    words = ["ann", "bob", "oslo", "lives", "met", "in", "on", "."]
    vectors.add_vectors(words, np.random.default_rng(0).normal(size=(len(words), 6)))
    vectors.save_word2vec_format(str(folder / "vectors.txt"))
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    done = nerserve(
        folder, "train", "--train", "news.conll", "--dev", "news.conll", "--vectors", "vectors.txt",
        "--out", "models/news", "--labels", "map.json", "--config", "config.json", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_train_writes_a_bundle_with_metrics_and_card(folder, trained):
    assert "models/news: dev F1" in trained.stdout
    metrics = json.loads((folder / "models/news/metrics.json").read_text())
    assert metrics["dev_f1"] > 0.9
    assert set(metrics["dev"]["news"]["labels"]) == {"LOC", "PER"}
    assert "micro" in (folder / "models/news/MODEL_CARD.md").read_text()


def test_evaluate_scores_the_bundle(folder, trained):
    done = nerserve(folder, "evaluate", "models/news", "news.conll", "--labels", "map.json", "--json")

    micro = json.loads(done.stdout)["news.conll"]["micro"]
    assert micro["gold"] == 32
    assert micro["f1"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("evaluate", "models/news", "missing.conll"), "missing.conll: expected a UTF-8 text file"),
        (("evaluate", "models/none", "news.conll"), "config.json: missing"),
        (("evaluate", "models/news", "news.conll", "--labels", "config.json"), "expected a JSON object of native"),
        (("open-corpora", "nowhere", "--out", "out"), "nowhere/gmb_kaggle/train.conll"),
        (
            ("train", "--train", "news.conll", "--dev", "news.conll", "--vectors", "vectors.txt", "--out", "models"),
            "models: holds no bundle, and is not replaced by one",
        ),
        (
            ("train", "--train", "news.conll", "--dev", "news.conll", "--vectors", "none.txt", "--out", "models/x"),
            "none.txt: cannot be read as word vectors",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_a_failure(folder, trained, arguments, problem):
    done = nerserve(folder, *arguments)

    assert done.returncode == 1
    assert problem in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_teaches(folder):
    done = nerserve(folder, "train", "--help")

    assert done.returncode == 0
    assert "nerserve archive models/news && nerserve up --models news" in done.stdout
