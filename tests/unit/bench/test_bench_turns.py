"""What the contestants of ``nerserve bench`` are asked, how they are started, and what is asked for first."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import requests

from bench.contestants import NOOP, build_noop, torchserve_alone
from bench.report import Report
from bench.rounds import StatusLine
from bench.sections import scaling
from bench.sections.served import CARRIED_P99_S, at_highest, is_carried
from bench.settings import Settings
from bench.wrk import Measured

ROOT = Path(__file__).parents[3]
Tagged = namedtuple("Tagged", ["num_tokens"])


class Asked:
    """A tagger that only notes what it is asked."""

    def __init__(self):
        self.texts = []

    def tag_texts(self, texts):
        self.texts += texts
        return [Tagged(1) for _ in texts]


@pytest.mark.parametrize("measure", [scaling.lengths, scaling.batch_sizes])
def test_no_size_is_measured_with_the_texts_of_another(measure):
    asked = Asked()
    settings = Settings(
        num_rounds=2, seconds=1, num_workers=2, connections=(1,), without=frozenset(), texts_file=None, is_quick=True
    )

    measure(Report(StatusLine(), {}, sys.stdout), settings, asked)

    assert len(asked.texts) > 1000
    assert len(set(asked.texts)) > 0.95 * len(asked.texts)  # some short ones hold nothing that changes


@pytest.mark.parametrize(("most", "expected"), [(1000.0, 85), (60.0, 55), (25.0, 25), (1.0, None)])
def test_the_load_that_is_carried_is_the_highest_one(most, expected):
    asked = []

    found = at_highest(100.0, lambda rate: asked.append(rate) or ("it" if rate <= most else None))

    assert found == (None if expected is None else (pytest.approx(expected), "it"))
    assert asked == sorted(asked, reverse=True)


@pytest.mark.parametrize(
    ("p99_s", "num_bad", "carried"), [(CARRIED_P99_S, 0, True), (CARRIED_P99_S + 0.01, 0, False), (0.001, 1, False)]
)
def test_a_load_is_carried_when_all_is_answered_soon(p99_s, num_bad, carried):
    assert is_carried(Measured(100, 1.0, num_bad, 0, 1.0, 1.0, p99_s * 1e3)) == carried


def test_a_torchserve_that_was_stopped_leaves_class_data_for_the_next(tmp_path):
    build_noop(tmp_path / "model-store", 1)

    commands = []
    for _ in range(2):
        with torchserve_alone(tmp_path, NOOP) as server:
            answer = answer_of(f"{server.url}{server.path}")
            commands.append(server.process.cmdline())  # empty for a moment after the start

    assert answer["entities"] == []
    assert not [part for part in commands[0] if "SharedArchiveFile" in part]
    (shared,) = [part for part in commands[1] if part.startswith("-XX:SharedArchiveFile=")]
    assert Path(shared.partition("=")[2]).stat().st_size > 1_000_000


def answer_of(url):
    for _ in range(600):
        try:
            reply = requests.post(url, json={"text": ""}, timeout=30)
        except requests.ConnectionError:
            pass
        else:
            if reply.ok:
                return reply.json()
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def bench(*arguments, **more):
    command = [sys.executable, "-m", "nerserve.cli", "bench", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def test_a_missing_program_is_told_before_anything_is_measured(tmp_path):
    environ = {**os.environ, "PATH": str(tmp_path)}

    out, errors = bench("--without", "spacy,litserve", env=environ).communicate(timeout=120)

    assert "the program wrk is missing" in errors
    assert out == ""


@pytest.mark.parametrize("option", ["--out", "--plots"])
def test_a_place_for_results_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path, option):
    (tmp_path / "file").write_text("")

    process = bench("process", "--without", "spacy", option, tmp_path / "file" / "x" / "y")
    out, errors = process.communicate(timeout=120)

    assert process.returncode == 2
    assert f"nerserve: {option}: " in errors
    assert out == ""


def test_what_was_measured_until_a_signal_is_written_to_a_new_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "x.json"
    process = bench("process", "--without", "spacy", "--out", path)
    while process.poll() is None and not path.exists():
        time.sleep(0.05)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)

    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(path.read_text("utf-8"))["about"]["command"][:2] == ["bench", "process"]
