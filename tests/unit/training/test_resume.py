"""Runs killed by SIGKILL at any moment and resumed end with the bytes of a run that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.labels import Span
from handler.vectors import WordVectors
from training.corpora import Sentence, write_conll
from training.errors import RunError
from training.run import TrainingInputs, train_bundle
from training.trainer import BEST, Trainer

NAMES = ["Ann", "Bob", "Cleo", "Dora", "Emil", "Finn"]
PLACES = ["Paris", "Rome", "Oslo", "Bonn", "Kiel", "Ulm"]
OTHER = ["lives", "in", "and", "works", "met", "again", ".", "with", "of", "the"]


def sentences(count, seed):
    """*count* sentences of 3 to 24 words, a name or a place now and then."""
    draw = random.Random(seed)
    for _ in range(count):
        words = [draw.choice([*OTHER, *OTHER, *NAMES, *PLACES]) for _ in range(draw.randint(3, 24))]
        labels = [("PER" if word in NAMES else "LOC" if word in PLACES else "") for word in words]
        yield Sentence(tuple(words), tuple(Span(i, i + 1, label) for i, label in enumerate(labels) if label))


def train(run):
    """One run of two epochs, a state behind every mini-batch; goes on where there is something to go on with."""
    torch.set_num_threads(1)
    vectors = np.random.default_rng(1).normal(size=(len(OTHER), 4)).astype(np.float32)
    model = ModelConfig(labels=("LOC", "PER"), word_dim=4, char_dim=3, char_filters=4, case_dim=2, hidden_dim=4)
    trainer = Trainer(
        config=BundleConfig(
            name="toy",
            version="1.0",
            model=model,
            training=TrainingConfig(max_epochs=2, batch_size=10, learning_rate=0.05, ema_decay=0.5, min_char_count=1),
        ),
        vectors=WordVectors.new(OTHER, vectors, "float16"),
        train={"train": list(sentences(24, seed=1))},
        dev={"dev": list(sentences(5, seed=2)), "dev2": list(sentences(5, seed=3))},
        run=run,
        checkpoint_seconds=0,
    )
    trainer.resume()
    trainer.fit()


def in_a_child(work, run, kill_at=None):
    """*Work* in a process of its own, SIGKILLed before its file operation number *kill_at* in *run*; how many it did.

    None comes back when it was killed.
    """
    events = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return int(said) if said else None
    try:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in events and str(arguments[0]).startswith(str(run)):
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work(run)
        os.write(writer, str(count).encode())
        os._exit(0)
    finally:
        os._exit(1)


def outcome(run):
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    timeless = [{key: entry[key] for key in entry.keys() - {"seconds", "tokens_per_s"}} for entry in log]
    return (run / BEST / "weights.npz").read_bytes(), (run / BEST / "config.json").read_bytes(), timeless


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone, and how many file operations it took."""
    torch.optim.Adam([torch.zeros(1)])  # imports half of torch: once, and not in every child
    run = tmp_path_factory.mktemp("whole")
    return run, in_a_child(train, run)


def test_a_run_killed_before_some_file_operation_ends_the_same(whole, tmp_path):
    run, num_operations = whole
    expected = outcome(run)

    assert num_operations > 60
    for kill_at in random.Random(4).sample(range(1, num_operations + 1), 16):
        killed = tmp_path / str(kill_at)
        killed.mkdir()
        assert in_a_child(train, killed, kill_at) is None
        assert in_a_child(train, killed) is not None
        assert outcome(killed) == expected, f"killed before file operation {kill_at} of {num_operations}"


def write_files(folder, num_sentences):
    """Everything that a run of eight epochs is given."""
    write_conll(folder / "train.conll", sentences(num_sentences, seed=1))
    write_conll(folder / "dev.conll", sentences(num_sentences // 9, seed=2))
    np.savez(folder / "v.npz", vectors=np.random.default_rng(3).normal(size=(len(OTHER), 8)).astype(np.float32))
    (folder / "v.words.txt").write_text("\n".join(OTHER) + "\n")
    (folder / "labels.json").write_text('{"PER": "PER", "LOC": "LOC"}')
    settings = {"model": {"hidden_dim": 32}, "training": {"max_epochs": 8, "patience": 8}}
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.fixture
def command(tmp_path):
    """``nerserve train`` on files in *tmp_path*, without ``--out``."""
    write_files(tmp_path, num_sentences=900)
    return [
        *(sys.executable, "-m", "nerserve.cli", "train", "--train", "train.conll", "--dev", "dev.conll"),
        *("--vectors", "v.npz", "--config", "config.json", "--threads", "1", "--checkpoint-seconds", "0.1"),
    ]


def interrupt(process, run, number, delay):
    """Send signal *number* to *process*, *delay* seconds after it has written a state; its exit code comes back."""
    state = run / "state.pt"
    before = state.stat().st_mtime_ns if state.exists() else 0
    while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait()


def test_nerserve_train_can_be_killed_and_resumed_to_the_same_bytes(command, tmp_path):
    alone = subprocess.run([*command, "--out", "alone/toy"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    draw = random.Random()
    interrupts = [
        *((signal.SIGKILL, draw.uniform(0, 0.6)), (signal.SIGTERM, 0)),
        *((signal.SIGKILL, draw.uniform(0, 0.6)), (signal.SIGINT, 0)),
    ]
    run = tmp_path / "runs" / "parts"

    resumed = [*command, "--out", "parts/toy", "--run", "runs/parts", "--resume"]
    codes = []
    for number, delay in interrupts:
        with (tmp_path / f"{len(codes)}.err").open("w") as errors:
            codes.append(interrupt(subprocess.Popen(resumed, cwd=tmp_path, stderr=errors), run, number, delay))
    last = subprocess.run(resumed, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert codes == [-9, 143, -9, 130], interrupts
    for number in (1, 3):
        said = (tmp_path / f"{number}.err").read_text()
        assert "runs/parts: goes on in epoch " in said
        assert said.splitlines()[-1] == "nerserve: interrupted; the same command with --resume goes on from there"
    assert last.returncode == 0, last.stderr
    for name in ("weights.npz", "vocab.json", "config.json", "metrics.json"):
        same = (tmp_path / "parts/toy" / name).read_bytes() == (tmp_path / "alone/toy" / name).read_bytes()
        assert same, (name, interrupts)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == list(range(1, 9))
    assert json.loads((run / "run.json").read_text())["arguments"]["resume"] is True


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with files and the run on them, which has ended."""
    folder = tmp_path_factory.mktemp("finished")
    write_files(folder, num_sentences=40)
    train_in(folder, resume=False)
    return folder


def train_in(folder, **changes):
    arguments = {
        "train": [folder / "train.conll"],
        "dev": [folder / "dev.conll"],
        "test": [],
        "vectors": [folder / "v.npz"],
        "out": folder / "toy",
        "run": folder / "run",
        "config": folder / "config.json",
        "label_map": folder / "labels.json",
        "max_words": 8,
        "storage": "float16",
        "version": "1.0",
        "card": None,
        "seed": None,
        "resume": True,
        "threads": 1,
    }
    return train_bundle(TrainingInputs(**(arguments | changes)))


def append(name, text):
    return lambda folder: (folder / name).write_text((folder / name).read_text() + text)


@pytest.mark.parametrize(
    ("change", "arguments", "difference"),
    [
        (append("train.conll", "Ann\tB-PER\n\n"), {}, "--train train: it began with sha256:"),
        (append("dev.conll", "Ann\tB-PER\n\n"), {}, "--dev dev: it began with sha256:"),
        (append("labels.json", "\n"), {}, "--label-map: it began with sha256:"),
        (append("v.words.txt", ""), {"max_words": 7}, "--max-words: it began with 8, and not with 7"),
        (append("v.words.txt", ""), {"storage": "int8"}, "--storage: it began with float16, and not with int8"),
        (append("v.words.txt", ""), {"seed": 9}, "training.seed: it began with 0, and not with 9"),
        (append("v.words.txt", ""), {"language": "en"}, 'about.language: it began with null, and not with "en"'),
        (append("v.words.txt", ""), {"description": "x"}, 'about.description: it began with "", and not with "x"'),
        (lambda folder: np.savez(folder / "v.npz", vectors=np.ones((len(OTHER), 8))), {}, "--vectors v: it began with"),
        (
            lambda folder: (folder / "v.words.txt").write_text("\n".join(reversed(OTHER))),
            {},
            "words and vectors: it began with sha256:",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_files_or_settings(finished, tmp_path, change, arguments, difference):
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    change(folder)
    before = (folder / "run" / "run.json").read_bytes()

    with pytest.raises(RunError) as refused:
        train_in(folder, **arguments)

    assert f"state.pt: the state of another run; {difference}" in str(refused.value)
    assert (folder / "run" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state["inputs"].update({"rules.tokens": "1"}), "rules.tokens: it began with 1, and not with "),
        (lambda state: state.update(format=2), "expected a state of format 3, got 2; it cannot be resumed"),
    ],
)
def test_a_run_is_not_resumed_under_other_text_rules(finished, tmp_path, change, problem):
    folder = tmp_path / "older"
    shutil.copytree(finished, folder)
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    change(state)
    torch.save(state, folder / "run" / "state.pt")

    with pytest.raises(RunError, match=problem):
        train_in(folder)


def test_a_run_is_not_begun_over_another_one(finished, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(finished, folder)
    before = {path: path.read_bytes() for path in (folder / "run").iterdir() if path.is_file()}

    with pytest.raises(RunError, match="holds a run already; --resume goes on with it"):
        train_in(folder, resume=False, seed=3)

    assert {path: path.read_bytes() for path in (folder / "run").iterdir() if path.is_file()} == before


def test_a_finished_run_writes_its_bundle_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "toy")
    given = tmp_path / "moved" / "run" / "run.json"
    given.write_text(json.dumps({**json.loads(given.read_text()), "started": "2001-02-03T04:05:06+00:00"}))

    train_in(tmp_path / "moved")

    assert json.loads(given.read_text())["started"] == "2001-02-03T04:05:06+00:00"  # when it was begun

    for path in sorted((finished / "toy").rglob("*")):
        again = tmp_path / "moved" / "toy" / path.relative_to(finished / "toy")
        assert path.is_dir() or path.read_bytes() == again.read_bytes()
