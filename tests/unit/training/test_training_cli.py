"""``nerserve train``, ``evaluate`` and ``open-corpora`` as a person runs them."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import gensim
import numpy as np
import pytest
import torch

from nerserve.cli import main, make_parser
from training.scoring.field import read_field_texts

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
    command = [sys.executable, "-m", "nerserve.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "train.conll").write_text(CORPUS * 9)
    (folder / "same.conll").write_text(CORPUS * 9)
    (folder / "people.conll").write_text(CORPUS.replace("B-place", "O") * 3)
    (folder / "rain.conll").write_text("It\tO\nrains\tO\n")
    (folder / "towns.json").write_text(json.dumps(MAP | {"place": "Ört"}))
    (folder / "news.conll").write_text(CORPUS * 8)
    (folder / "map.json").write_text(json.dumps(MAP))
    training = {"max_epochs": 15, "patience": 15, "learning_rate": 0.02, "perturbations": {}}
    about = {"description": "Notes", "label_names": {"PER": "Person"}}
    config = {"model": {"hidden_dim": 16}, "training": training, "about": about}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "labelled.json").write_text(json.dumps({"model": {"labels": ["PER"]}}))
    (folder / "wide.json").write_text(json.dumps({"model": {"word_dim": 100}}))
    (folder / "tweets.json").write_text(json.dumps({"training": {"corpus_shares": {"tweets": 0.5}}}))
    (folder / "misc.json").write_text(json.dumps({"training": {"unannotated": {"train": ["MISC"]}}}))
    (folder / "called.json").write_text(json.dumps({"about": {"label_names": {"person": "Person"}}}))
    (folder / "typo.json").write_text(json.dumps({"training": {"epochs": 3}}))
    vectors = gensim.models.KeyedVectors(6)
    words = ["ann", "bob", "oslo", "lives", "met", "in", "on", "."]
    vectors.add_vectors(words, np.random.default_rng(0).normal(size=(len(words), 6)))
    vectors.save_word2vec_format(str(folder / "vectors.txt"))
    return folder


TRAIN = """
train --train train.conll --dev news.conll --vectors vectors.txt --label-map map.json --config config.json --threads 1
""".split()


#: What must be refused before the vectors, which may take minutes, are looked at.
CHEAP = [*TRAIN, "--vectors", "none.txt", "--out"]


@pytest.fixture(scope="module")
def trained(folder):
    done = nerserve(folder, *TRAIN, "--out", "models/news", "--language", "en-GB")
    assert done.returncode == 0, done.stderr
    return done


def test_train_writes_a_bundle_with_metrics_and_card(folder, trained):
    assert "models/news: dev F1" in trained.stdout
    metrics = json.loads((folder / "models/news/metrics.json").read_text())
    assert metrics["dev_f1"] > 0.9
    assert set(metrics["dev"]["news"]["labels"]) == {"LOC", "PER"}
    assert "micro" in (folder / "models/news/MODEL_CARD.md").read_text()


def test_train_writes_what_people_are_told_and_what_the_model_met(folder, trained):
    config = json.loads((folder / "models/news/config.json").read_text())

    assert config["about"] == {"description": "Notes", "language": "en-GB", "label_names": {"PER": "Person"}}
    train = {"sentences": 18, "tokens": 90, "unseen_tokens": 9, "entities": {"LOC": 9, "PER": 27}}
    dev = {"sentences": 16, "tokens": 80, "unseen_tokens": 8}  # Monday has no vector
    found = {
        label: score["predicted"]
        for label, score in json.loads((folder / "models/news/metrics.json").read_text())["dev"]["news"][
            "labels"
        ].items()
    }
    assert config["profile"]["train"] == train
    assert config["profile"]["dev"] == dev | {"entities": found}
    assert sum(config["profile"]["scores"]) == sum(found.values()) > 20
    assert json.loads((folder / "runs/news/best/config.json").read_text())["profile"] is None


def test_train_keeps_what_it_was_given_and_how_it_went(folder, trained):
    run = folder / "runs/news"

    given = json.loads((run / "run.json").read_text())
    assert given["arguments"]["out"] == "models/news"
    assert given["training"]["max_epochs"] == 15
    assert given["machine"]["threads"] == 1
    assert given["libraries"].keys() == {"python", "torch", "numpy", "gensim", "nerserve"}
    assert given["data"]["dev"]["news"] == {
        "path": "news.conll",
        "digest": f"sha256:{hashlib.sha256((folder / 'news.conll').read_bytes()).hexdigest()}",
        "sentences": 16,
        "tokens": 80,
        "entities": {"PER": 24, "LOC": 8},
        "longest": 5,
        "longest_line": 1,
        "repeated": 16,
        "words": 9,
        "words_without_vector": 1,
        "tokens_without_vector": 8,
    }
    assert given["vectors"]["words"] == 8
    assert [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()] == [*range(1, 16)]
    assert "runs/news/report.html: plots and tables of the run" in trained.stdout
    assert "<svg" in (run / "report.html").read_text()
    assert {path.suffix for path in (run / "plots").iterdir()} == {".png", ".svg"}


def test_train_logs_a_line_an_epoch_where_nobody_looks(folder, trained):
    lines = [line for line in trained.stderr.splitlines() if " epoch " in line and "/15: loss" in line]

    assert len(lines) == 15
    assert "%|" not in trained.stderr


def test_train_shows_a_bar_in_80_columns_and_a_seed_gives_the_same_bytes(folder, trained):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "nerserve.cli", *TRAIN, "--out", "models/again", "--seed", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone when the process is
            while part := os.read(ours, 1 << 16):
                shown += part
    os.close(ours)

    assert process.returncode == 0, shown
    bars = [line for line in re.split(r"[\r\n]+", shown.decode()) if re.match(r"(epoch|dev) \d+/15 ", line)]
    assert bars
    assert max(map(len, bars)) <= 80
    for part in (r"loss \d\.\d{4}", r"[\d.]+k tokens/s", r"best F1 [\d.]+%", r"\d:\d\d left", r" \d+%\|"):
        assert re.search(part, bars[-1])
    ours, theirs = (json.loads((folder / "models" / name / "config.json").read_text()) for name in ("again", "news"))
    assert ours["profile"] == theirs["profile"]
    for name in ("weights.npz", "vocab.json"):
        assert (folder / "models/again" / name).read_bytes() == (folder / "models/news" / name).read_bytes()


def test_evaluate_scores_the_bundle(folder, trained):
    done = nerserve(folder, "evaluate", "models/news", "news.conll", "--label-map", "map.json", "--json")

    scores = json.loads(done.stdout)["news.conll"]
    measured = json.loads((folder / "models/news/metrics.json").read_text())["dev"]["news"]  # when it was trained
    assert scores["micro"]["gold"] == 32
    assert scores == {key: measured[key] for key in ("micro", "macro", "labels")}
    assert done.stderr == ""  # no progress bar where nobody looks


def test_evaluate_reads_character_spans(folder, trained):
    text = "Ann lives in Oslo. Bob met Ann."
    entities = [[0, 3, "PER"], [13, 17, "LOC"], [19, 22, "PER"], [27, 30, "PER"]]
    (folder / "news.jsonl").write_text(json.dumps({"text": text, "entities": entities}))

    done = nerserve(folder, "evaluate", "models/news", "news.jsonl")

    name, head, *rows = done.stdout.splitlines()
    assert name == "news.jsonl"
    assert head.split() == ["precision", "recall", "F1", "gold", "found"]
    assert [(row.split()[0], row.split()[4]) for row in rows] == [
        ("LOC", "1"), ("PER", "3"), ("micro", "4"), ("macro", "4")
    ]  # fmt: skip


def test_evaluate_compares_across_label_sets(folder, trained):
    names = {"person": "NAME", "place": "NAME", "day": "O", "PER": "NAME", "LOC": "NAME"}
    (folder / "names.json").write_text(json.dumps(names))

    done = nerserve(folder, "evaluate", "models/news", "news.conll", "--label-map", "names.json", "--json")

    assert list(json.loads(done.stdout)["news.conll"]["labels"]) == ["NAME"]
    assert json.loads(done.stdout)["news.conll"]["micro"]["gold"] == 32


def test_evaluate_writes_a_page_of_errors(folder, trained):
    inverted = {"person": "LOC", "place": "PER", "day": "O"}
    (folder / "inverted.json").write_text(json.dumps(inverted))

    done = nerserve(
        folder, "evaluate", "models/news", "news.conll", "--label-map", "inverted.json",
        "--errors", "errors.html", "--max-errors", "3",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    page = (folder / "errors.html").read_text()
    assert page.count("<article") == 3
    assert "3 of 16 are on this page" in page


def test_evaluate_scores_field_texts_by_kind(folder, trained):
    texts = [
        {"kind": "prose", "text": "Ann lives in Oslo.", "right": [["Ann", "PER"], ["Oslo", "LOC"]]},
        {"kind": "prose", "text": "Bob met Ann.", "right": [["Bob", "LOC"], ["Ann", "PER"]]},
        {"kind": "weather", "text": "on .", "right": []},
    ]
    (folder / "field.jsonl").write_text("\n".join(map(json.dumps, texts)))

    done = nerserve(folder, "evaluate", "models/news", "--field", "field.jsonl", "--errors", "field.html")

    assert done.returncode == 0, done.stderr
    name, _, *rows = done.stdout.splitlines()
    assert name == "field.jsonl"
    assert [row.split()[:3] for row in rows] == [["prose", "2", "1"], ["weather", "1", "1"], ["all", "3", "2"]]
    assert (folder / "field.html").read_text().count("<article") == 1

    done = nerserve(folder, "evaluate", "models/news", "--field", "field.jsonl", "--labels", "PER", "--json")

    assert json.loads(done.stdout)["field.jsonl"]["kinds"]["prose"]["entities"]["gold"] == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("none.conll",), "none.conll: cannot be read: No such file"),
        (("news.conll", "--field"), "news.conll:1: expected a JSON object"),
        (("--field", "none.jsonl"), "none.jsonl: cannot be read: No such file"),
        (("none.jsonl",), "none.jsonl: cannot be read: No such file"),
        (("news.conll",), "news.conll: expected labels of LOC, PER, got day, person, place; --label-map FILE maps"),
        (("news.conll", "--label-map", "part.json"), "news.conll:4: label 'place' is not in the label map"),
        (("news.conll", "--label-map", "wrong.json"), "news.conll: expected labels of LOC, PER, got PLC; --label"),
        (("news.conll", "--label-map", "none.json"), "none.json: cannot be read: No such file"),
        (
            ("news.conll", "--label-map", "map.json", "--labels", "GPE"),
            "--labels: expected labels of LOC, PER, got 'GPE'",
        ),
        (("news.conll", "--errors", "none/errors.html"), "none/errors.html: expected a file in a folder that exists"),
    ],
)
def test_a_mistake_in_evaluate_is_one_line_and_a_failure(folder, trained, arguments, problem):
    (folder / "part.json").write_text(json.dumps({"person": "PER"}))
    (folder / "wrong.json").write_text(json.dumps(MAP | {"place": "PLC"}))

    done = nerserve(folder, "evaluate", "models/news", *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(f"nerserve: {problem}")
    assert len(done.stderr.splitlines()) == 1


def test_the_map_and_the_field_text_in_the_help_of_evaluate_are_ones(folder, tmp_path):
    done = nerserve(folder, "evaluate", "--help")

    label_map, field_text = re.findall(r"^  (\{.*\})$", done.stdout, re.MULTILINE)
    labels = json.loads(label_map)
    assert {labels[label] for label in ("PER", "person")} == {"PER"}
    (tmp_path / "field.jsonl").write_text(field_text)
    assert len(read_field_texts(tmp_path / "field.jsonl")[0].right) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("evaluate", "models/none", "news.conll"), "nerserve: models/none: config.json: missing"),
        ((*CHEAP, "models/x", "--init", "models/none"), "nerserve: models/none: config.json: missing"),
        (("open-corpora", "nowhere", "--out", "out"), "nowhere/gmb_kaggle/train.conll"),
        (
            ("train", "--train", "train.conll", "--dev", "news.conll", "--vectors", "vectors.txt", "--out", "models"),
            "models: holds no bundle, and is not replaced by one",
        ),
        (
            ("train", "--train", "train.conll", "--dev", "news.conll", "--vectors", "none.txt", "--out", "models/x"),
            "none.txt: cannot be read: No such file",
        ),
        ((*TRAIN, "--out", "models/x", "--run", "news.conll/run"), "news.conll/run: cannot be written: Not a dir"),
        ((*TRAIN, "--out", "models/x", "--dev", "news.conll", "news.conll"), "news.conll: given twice"),
        ((*TRAIN, "--out", "models/x", "--card", "none.md"), "none.md: cannot be read: No such file"),
        ((*CHEAP, "models/news"), "runs/news: holds a run already; --resume goes on with it"),
        ((*CHEAP, "models/x", "--config", "typo.json"), "training.epochs: unknown key"),
        ((*CHEAP, "models/x", "--config", "labelled.json"), "labelled.json: model.labels: expected to be left out"),
        ((*CHEAP, "models/x", "--config", "wide.json"), "wide.json: model.word_dim: expected to be left out"),
        ((*CHEAP, "models/x", "--config", "tweets.json"), "corpus_shares: expected names among train, got tweets"),
        ((*CHEAP, "models/x", "--config", "misc.json"), "unannotated: expected labels among LOC, PER for train, got"),
        ((*CHEAP, "models/x", "--config", "called.json"), "about.label_names: expected labels among LOC, PER, got"),
        ((*CHEAP, "models/x", "--language", "English"), "--language: expected a BCP 47 tag, such as en or pt-BR, got"),
        ((*CHEAP, "models/x", "--description", "x" * 201), "--description: expected a line of at most 200 characters"),
        ((*CHEAP, "models/ö"), "config.name: expected 1 to 64 letters"),
        ((*CHEAP, "models/x", "--label-map", "towns.json"), "got 'Ört'; in ASCII, a letter first; --label-map FILE"),
        ((*CHEAP, "models/x", "--train", "rain.conll"), "--train: expected entities to learn from, got none"),
        ((*CHEAP, "models/x", "--dev", "rain.conll"), "rain: expected entities, which decide which epoch is best"),
        (
            (*CHEAP, "models/x", "--train", "people.conll"),
            "news: expected labels of PER, as training has them, got LOC; --label-map FILE maps labels or drops them",
        ),
        (
            (*CHEAP, "models/x", "--train", "people.conll", "--dev", "same.conll", "--test", "news.conll"),
            "same: expected labels of PER, as training has them, got LOC",
        ),
        (
            (*CHEAP, "models/x", "--dev", "people.conll", "--train", "people.conll", "rain.conll"),
            "--dev people.conll: expected another file, got that of --train people.conll",
        ),
        (
            (*CHEAP, "models/x", "--test", "same.conll"),
            "--test same.conll: expected another file, got that of --train train.conll",
        ),
        (("evaluate", "models/news", "news.conll", "--errors", "."), ".: expected a file in a folder that exists"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_a_failure(folder, trained, capsys, arguments, problem):
    threads = torch.get_num_threads()

    with contextlib.chdir(folder):
        status = main(arguments)

    torch.set_num_threads(threads)
    assert status == (5 if "models/none" in arguments else 2)
    assert problem in capsys.readouterr().err.splitlines()[-1]


def test_what_scores_on_a_dev_file_do_not_say_is_pointed_out(folder, caplog):
    with contextlib.chdir(folder):
        assert main([*CHEAP, "models/x", "--dev", "people.conll"]) == 2

    assert "people: LOC not annotated; the scores leave out what is found of them" in caplog.text
    assert "people: 6 of 6 sentences of 5 words or more also stand in training" in caplog.text


@pytest.mark.parametrize("arguments", [(*TRAIN, "--out", "models/x"), ("evaluate", "models/x", "news.conll")])
def test_what_is_not_installed_is_named_with_what_installs_it(folder, arguments):
    without = "import sys; sys.modules['tqdm'] = None; from nerserve.cli import main; sys.exit(main(sys.argv[1:]))"

    command = [sys.executable, "-c", without, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "nerserve: not installed: tqdm; install it with: scripts/install serve web archive train"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--threads", "0"), ("--threads", "two"), ("--checkpoint-seconds", "-1"), ("--checkpoint-seconds", "nan")),
        *(("--seeds", "1,1"), ("--seeds", "one"), ("--model-version", "one")),
    ],
)
def test_a_value_that_cannot_be_is_wrong_usage(capsys, option, value):
    with pytest.raises(SystemExit) as stopped:
        make_parser().parse_args([*TRAIN, "--out", "models/x", option, value])

    assert stopped.value.code == 2
    assert f"nerserve: {option}: expected " in capsys.readouterr().err


def test_help_teaches(folder):
    done = nerserve(folder, "train", "--help")

    assert done.returncode == 0
    assert "nerserve archive models/news && nerserve up --models news" in done.stdout
    for written in ("run.json", "log.jsonl", "state.pt", "best/", "report.html", "metrics.json"):
        assert written in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
