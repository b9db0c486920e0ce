"""The scripts on a fresh clone, before anything is installed: help, wrong usage, busy ports, unfit Pythons."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ["check", "containers", "fix", "install", "lock", "test", "up"]
SOURCES = ["archive", "bench", "contract", "handler", "nerserve", "ops", "training"]
NO_PACKAGES = '#!/bin/sh\nexec "{python}" -S "$@"\n'
"""A Python without site-packages, as on a machine where nothing is installed."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A checkout without .venv, and the program python3.11 with no package at all; ``run`` gives what a script did."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("scripts", "requirements", *SOURCES):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.properties", "metrics.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("en", "en-social"):
        (folder / "models" / name).mkdir(parents=True)
    programs = tmp_path_factory.mktemp("programs")
    write_program(programs / "python3.11", NO_PACKAGES.format(python=sys.executable))
    names = {name: value for name, value in os.environ.items() if not name.startswith(("NERSERVE_", "PYTHON"))}
    before = files_of(folder)

    def run(script, *arguments, **variables):
        done = subprocess.run(
            [f"scripts/{script}", *arguments],
            cwd=folder,
            env=names | {"PATH": f"{programs}:/usr/bin:/bin"} | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert files_of(folder) == before, "nothing is made or changed"
        return done

    return SimpleNamespace(folder=folder, run=run)


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help(clone, script):
    done = clone.run(script, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    header = (ROOT / "scripts" / script).read_text().splitlines()[1]
    assert done.stdout.startswith(f"{header.removeprefix('# ')}\n")


def test_the_help_of_the_start_lists_its_arguments(clone):
    done = clone.run("up", "--help")

    assert "usage: nerserve up" in done.stdout
    assert "--port" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "message"),
    [
        (["--prot", "8001"], {}, 2, "--prot"),
        (["--port", "x"], {}, 2, "nerserve: --port: expected a port from 1 to 65535, got 'x'"),
        (["--config", "nowhere.properties"], {}, 2, "nowhere.properties does not exist"),
        (["--models", "nobody"], {}, 5, "there is en, en-social"),
        ([], {"NERSERVE_PROT": "1"}, 2, "the nearest known one is NERSERVE_PORT"),
        ([], {"NERSERVE_PORT": "x"}, 2, "NERSERVE_PORT: expected a port from 1 to 65535, got 'x'"),
        ([], {"NERSERVE_NETTY_HTTP": "nowhere.jar"}, 2, "NERSERVE_NETTY_HTTP: expected netty-codec-http.jar"),
    ],
)
def test_a_start_that_cannot_work_is_refused_before_anything_is_installed(clone, arguments, variables, status, message):
    done = clone.run("up", *arguments, **variables)

    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr


def test_a_busy_port_is_said_before_anything_is_installed(clone, busy_port):
    done = clone.run("up", "--port", busy_port, "--config", own_ports(clone.folder.parent))

    assert (done.returncode, done.stdout) == (3, "")
    assert f"port {busy_port} on 127.0.0.1 is taken by another process" in done.stderr
    assert "choose another port with --port, or others with --port-base" in done.stderr


def own_ports(folder):
    """A config.properties whose ports nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    names = ["inference_address=http://127.0.0.1:", "management_address=http://127.0.0.1:"]
    names += ["metrics_address=http://127.0.0.1:", "grpc_inference_port="]
    path = folder / "own.properties"
    lines = [f"{name}{port}\n" for name, port in zip(names, ports, strict=True)]
    path.write_text("".join([*lines, "grpc_management_port=0\n"]))
    return str(path)


@pytest.mark.parametrize("arguments", [["serv"], ["--all"], ["serve", "../serve"]])
def test_a_set_that_is_none_is_named_with_those_that_are(clone, arguments):
    done = clone.run("install", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"expected names of sets, got: {arguments[-1]}\n" in done.stderr
    assert "\n  web      The site; no torch.\n" in done.stderr


def test_no_set_at_all_is_answered_with_those_that_are(clone):
    done = clone.run("install")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: scripts/install SET...\nSets:\n")


UNFIT = {
    "old": ('print("is CPython 3.10.13")', "is CPython 3.10.13"),  # what the question prints there
    "broken": ("raise SystemExit(127)", "does not run"),
}


@pytest.mark.parametrize("script", [["up"], ["install", "web"]])
@pytest.mark.parametrize(("answer", "shown"), UNFIT.values(), ids=UNFIT)
def test_a_python_that_does_not_fit_is_named_with_the_way_to_one_that_does(clone, tmp_path, script, answer, shown):
    unfit = write_program(tmp_path / "python", f"#!/bin/sh\nexec {sys.executable} -c '{answer}'\n")

    done = clone.run(*script, PYTHON=str(unfit))

    assert (done.returncode, done.stdout) == (1, "")
    first, *ways = done.stderr.splitlines()
    assert first == f"nerserve needs Python 3.11, 3.12 or 3.13, CPython with venv; found: {unfit} {shown}."
    assert f"uv python install 3.12 && PYTHON=$(uv python find 3.12) scripts/{script[0]} " in ways[-1]


def test_a_python_without_venv_is_named(clone, tmp_path):
    """As Debian's is without the package python3-venv."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    lacking = write_program(tmp_path / "python", f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')

    done = clone.run("up", PYTHON=str(lacking))

    assert done.returncode == 1
    assert f"found: {lacking} is CPython {platform.python_version()} without venv." in done.stderr


def test_a_name_on_the_path_that_does_not_run_is_passed_over(clone, tmp_path):
    """As the shims of pyenv are for versions that are not chosen."""
    write_program(tmp_path / "python3.11", "#!/bin/sh\nexit 127\n")
    write_program(tmp_path / "python3.12", NO_PACKAGES.format(python=sys.executable))

    done = clone.run("up", "--port", "x", PATH=f"{tmp_path}:/usr/bin:/bin")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--port: expected a port" in done.stderr


def test_a_full_disk_is_said_before_anything_is_installed(clone, tmp_path):
    write_program(tmp_path / "df", "#!/bin/sh\necho Filesystem 1M-blocks Used Available\necho disk 9000 8200 800\n")

    done = clone.run("install", "serve", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"The set serve takes about 1,200 MB in {clone.folder}/.venv, and 800 MB are free there.\n"


def test_a_package_that_is_not_editable_is_refused_with_what_to_do(tmp_path):
    """``pip install`` begins with the same wheel."""
    options = ["--no-index", "--no-deps", "--disable-pip-version-check", "--wheel-dir", str(tmp_path)]

    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "nerserve is not installed as a package: it runs from its checkout" in done.stdout + done.stderr
    assert "scripts/up sets it up and starts it" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_git_ignores_what_is_generated_and_no_source(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    generated = [
        ".nerserve/logs/up.log",
        ".nerserve-2/lock",
        "logs/ts_log.log",
        "releases/en.mar",
        "model-store/en.mar",
    ]
    sources = ["web/logs/app.py", "docs/releases/0.2.md", "ops/.nerserve/x", "models/en/config.json", "tests/logs/a.py"]

    command = ["git", "-C", tmp_path, "check-ignore", *generated, *sources]
    ignored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert ignored == generated
