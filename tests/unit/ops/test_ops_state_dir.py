"""What ``nerserve up`` makes of a state directory, before there is a TorchServe."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from archive import mar

ROOT = Path(__file__).parents[3]


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def up(tmp_path):
    """Runs ``nerserve up`` with a whole archive and free ports; its exit status and what it said on stderr."""
    inference, management, metrics, grpc = free_ports(4)
    (tmp_path / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{inference}\nmanagement_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc}\ngrpc_management_port=0\n"
    )
    files = {
        mar.MANIFEST: json.dumps({"model": {"modelName": "en", "modelVersion": "1.0", "handler": mar.ENTRY_POINT}}),
        mar.ENTRY_POINT: "",
        mar.MODEL_CONFIG: "",
        f"{mar.BUNDLE}/config.json": "{}",
    }
    (tmp_path / "model-store").mkdir()
    (tmp_path / "model-store" / "en.mar").write_bytes(
        mar.pack({name: content.encode() for name, content in files.items()})
    )

    def call(state_dir, settings=""):
        with (tmp_path / "config.properties").open("a") as config:
            config.write(settings)
        ended = subprocess.run(
            [sys.executable, "-m", "nerserve.cli", "up", "--no-site", "--state-dir", state_dir],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("NERSERVE_")}
            | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stderr

    return call


@pytest.mark.parametrize(
    "theirs", ["tmp/thesis.tex", "classes-2026/plan.txt", "keys/inference.key", "torchserve.properties"]
)
def test_a_directory_of_somebody_else_is_no_state_directory(up, tmp_path, theirs):
    home = tmp_path / "home"
    file = home / theirs
    file.parent.mkdir(parents=True)
    file.write_text("mine")

    status, said = up(home)

    assert status == 1
    assert said == (
        f"nerserve: the state directory {home} is not empty, and no nerserve has used it before; "
        "choose an empty or a new one with --state-dir\n"
    )
    assert [path for path in home.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        ([], "logs/torchserve.out"),  # logs alone may be a disk of their own
        (["lock"], "classes-1.jsa"),
    ],
)
def test_a_start_that_the_system_does_not_allow_is_told_in_one_line(up, tmp_path, files, folder):
    state_dir = tmp_path / "state"
    (state_dir / folder).mkdir(parents=True)
    for name in files:
        (state_dir / name).touch()

    status, said = up(state_dir)

    assert status == 1
    assert said == f"nerserve: TorchServe could not be started: [Errno 21] Is a directory: '{state_dir / folder}'\n"


def test_keys_that_have_no_place_are_told_in_one_line(up, tmp_path):
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    for name in ("lock", "keys"):
        (state_dir / name).touch()

    status, said = up(state_dir)

    assert status == 1
    assert said == f"nerserve: no key can be written to {state_dir / 'keys'}: File exists\n"


def test_whoever_switches_keys_off_is_told_what_that_opens(up, tmp_path):
    (tmp_path / "state" / "logs" / "torchserve.out").mkdir(parents=True)  # which ends the start

    _, said = up(tmp_path / "state", "disable_token_authorization=true\n")

    assert "warning: nobody is asked for a key (disable_token_authorization=true): any program of this machine" in said
