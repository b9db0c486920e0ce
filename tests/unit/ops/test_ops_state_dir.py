"""What ``nerserve up`` makes of a state directory, before there is a TorchServe."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from archive import mar
from ops.errors import OpsError
from ops.process.group import Guard, ProcessGroup
from ops.process.state_dir import StateDir

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


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [None, 0o777, 0o755, 0o770])
def test_the_directory_is_private_in_a_parent_that_is_not(tmp_path, mode):
    tmp_path.chmod(0o777)
    path = tmp_path / "state"
    if mode is not None:
        (path / "logs").mkdir(parents=True)
        (path / "logs").chmod(mode)
        path.chmod(mode)

    with StateDir(path).locked():
        modes = [mode_of(path), mode_of(path / "logs"), mode_of(path / "tmp")]

    assert modes == [0o700] * 3
    assert mode_of(tmp_path) == 0o777


@pytest.mark.parametrize(
    "planted", ["state", "state/lock", "state/logs", "state/logs/site.log", "state/tmp", "state/keys"]
)
def test_a_link_that_somebody_planted_is_not_followed(tmp_path, planted):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / planted).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / planted).symlink_to(target / "file" if planted.endswith(".log") else target)
    if planted not in {"state", "state/lock"}:
        (tmp_path / "state" / "lock").touch()

    with pytest.raises(OpsError, match="link") as caught, StateDir(tmp_path / "state").locked():
        pass

    assert str(tmp_path / planted) in str(caught.value)
    assert list(target.iterdir()) == []


def test_a_log_that_became_a_link_is_not_followed(tmp_path):
    state_dir, target = StateDir(tmp_path / "state"), tmp_path / "target"
    with state_dir.locked():
        (state_dir.logs / "out").symlink_to(target)
        guard = Guard()
        with pytest.raises(OSError, match="symbolic links"):
            ProcessGroup(guard, state_dir.logs / "out").launch([sys.executable, "-V"], env={}, cwd=tmp_path)
        guard.close()

    assert not target.exists()


def test_the_directory_of_another_user_is_refused(tmp_path):
    path = Path("/") if os.geteuid() else tmp_path / "theirs"
    if not os.geteuid():
        path.mkdir()
        os.chown(path, 12_345, -1)
    before = path.stat()

    with pytest.raises(OpsError, match=rf"uid {before.st_uid}\b.*--state-dir"), StateDir(path).locked():
        pass

    assert path.stat() == before


def test_a_directory_with_files_of_others_keeps_its_mode(tmp_path):
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(OpsError, match="not empty"), StateDir(tmp_path).locked():
        pass

    assert mode_of(tmp_path) == 0o755
