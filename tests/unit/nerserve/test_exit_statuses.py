"""The same cause has the same exit status in every command, and each command's help lists it."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from contract.exit_status import ExitStatus
from nerserve.cli import main, make_parser


@pytest.fixture(scope="module")
def folder(tiny_bundle, tiny_mar, tmp_path_factory):
    """A bundle and an archive, broken ones, texts, and a server's address at which nobody listens."""
    folder = tmp_path_factory.mktemp("statuses")
    shutil.copytree(tiny_bundle, folder / "tiny")
    shutil.copytree(tiny_bundle, folder / "broken")
    (folder / "broken" / "weights.npz").write_bytes(b"no weights")
    (folder / "store").mkdir()
    shutil.copy(tiny_mar, folder / "store" / "tiny.mar")
    (folder / "broken.mar").write_bytes(tiny_mar.read_bytes()[:-100])
    shutil.copy(folder / "broken.mar", folder / "store" / "en.mar")
    (folder / "a folder").mkdir()
    (folder / "one.conll").write_text("Obama\tB-PER\nmet\tO\nApple\tO\n\n")
    (folder / "vectors.txt").write_text("obama 1 2 3\napple 4 5 6\n")
    (folder / "config.properties").write_text("")
    (folder / "wrong.properties").write_text("no_such_key=1\n")
    (folder / "settings.json").write_text('{"training": {"epochs": 3}}')
    return folder


@pytest.fixture(scope="module")
def nobody():
    """A URL at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


TRAIN = "train --train one.conll --dev one.conll --vectors vectors.txt --out new"

CASES = [
    # a bundle or an archive is missing or broken
    *((command, ExitStatus.BAD_MODEL) for command in (
        "predict Obama --model broken",
        "predict Obama --model broken.mar",
        "predict Obama --model missing",
        "archive broken",
        "archive missing",
        "inspect broken.mar",
        "inspect missing.mar",
        "evaluate broken one.conll",
        "evaluate missing one.conll",
        "register broken.mar --model-store store --management {nobody}",
        "register missing.mar --model-store store --management {nobody}",
        "up --config config.properties --model-store store --no-site",
        "up --config config.properties --model-store store --models de --no-site",
    )),
    # a file, a setting or an option cannot be used
    *((command, ExitStatus.UNUSABLE) for command in (
        "predict missing.txt",
        "predict 'a folder'",
        "predict Obama --model tiny --labels FOO",
        "predict Obama --url http://127.0.0.1:9 --inference-key-file missing",
        "predict Obama --url https://127.0.0.1:9 --ca missing",
        "archive tiny --model-config missing.yaml",
        "archive tiny --model-store one.conll",
        "archive tiny --model-version x",
        "evaluate tiny missing.conll",
        "evaluate tiny one.conll --labels FOO",
        "evaluate tiny one.conll --label-map missing.json",
        "evaluate tiny one.conll --errors missing/page.html",
        f"{TRAIN} --train missing.conll",
        f"{TRAIN} --vectors missing.txt",
        f"{TRAIN} --config settings.json",
        f"{TRAIN} --config missing.json",
        f"{TRAIN} --label-map missing.json",
        f"{TRAIN} --card missing.md",
        f"{TRAIN} --out one.conll",
        "data check missing.conll",
        "open-corpora missing --out new",
        "models --ca missing",
        "models --management-key-file missing",
        "register store/tiny.mar --model-store missing --management {nobody}",
        "data convert missing.conll --out new.jsonl",
        "data convert one.conll --out one.conll",
        "up --config missing.properties",
        "up --config wrong.properties --no-site",
        "up --max-chars 0",
        "bench process --texts missing.txt --without spacy",
        "nonsense",
        "up --nonsense",
        "",
    )),
    # no reply
    *((f"{command} {{nobody}}", ExitStatus.NO_REPLY) for command in (
        "predict Obama --url",
        "models --management",
        "describe tiny --management",
        "scale tiny --workers 2 --management",
        "register tiny.mar --management",
        "rollout tiny tiny.mar --management",
        "rollback tiny --management",
        "drain tiny --management",
        "unregister tiny 1.0 --management",
    )),
    # no nerserve up runs there
    *((command, ExitStatus.REFUSED) for command in (
        "key --state-dir none",
        "status --state-dir none",
        "down --state-dir none",
    )),
    # done
    *((command, ExitStatus.DONE) for command in (
        "--help",
        "help up",
        "version",
        "completion zsh",
        "predict Obama --model tiny",
        "predict Obama --model store/tiny.mar",
        "inspect store/tiny.mar",
        "evaluate tiny one.conll --labels PER",
        "data check one.conll",
        "data convert one.conll --out converted.jsonl",
    )),
]  # fmt: skip


def words_of(command):
    return [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]


@pytest.fixture
def at_home(folder, monkeypatch):
    """In *folder*, with nothing on standard input."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))


@pytest.mark.parametrize(("command", "status"), CASES, ids=[command or "nothing" for command, _ in CASES])
@pytest.mark.usefixtures("at_home")
def test_a_cause_has_one_status(nobody, capfd, command, status):

    try:
        found = main(words_of(command.replace("{nobody}", nobody)))
    except SystemExit as stopped:
        found = stopped.code or 0

    errors = capfd.readouterr().err
    assert found == status, errors
    if status and command:
        assert [line for line in errors.splitlines() if line.startswith(("nerserve: ", "error: "))], errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("command", "status"),
    sorted({(words_of(command)[0], int(status)) for command, status in CASES if words_of(command)}),
)
def test_a_command_s_help_lists_its_statuses(command, status):
    parsers = make_parser()._commands.choices
    parser = parsers.get(command)

    listed = make_parser().format_help() if parser is None or parser._commands is not None else parser.format_help()

    assert re.search(rf"^  {status} +{re.escape(ExitStatus(status).meaning)}$", listed, re.MULTILINE)


@pytest.mark.parametrize("command", ["predict pipe --model tiny", "inspect pipe", "evaluate tiny pipe"])
def test_ctrl_c_ends_a_command_quietly_with_130(folder, command):
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    words = [sys.executable, "-m", "nerserve.cli", *command.split()]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        writer = None
        while writer is None and process.poll() is None:
            with contextlib.suppress(OSError):  # until the command has opened it, to read
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    os.close(writer)

    assert (process.returncode, errors) == (130, "")
