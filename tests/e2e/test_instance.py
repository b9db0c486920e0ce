"""One nerserve up in the background, and the commands that need nothing but its state directory."""

import contextlib
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from nerserve.cli import main
from tests.e2e.instance import ANSWER_S, QUICKLY_GIVEN_UP, ROOT, Up, free_ports, is_there, write_archive

pytestmark = pytest.mark.timeout(900)


def free_base():
    """A base of ports of 127.0.0.1 that nobody uses now, each."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    bases = [base for base in range(10_300, 65_400, 100) if base + 99 < first or base > last]
    for base in random.SystemRandom().sample(bases, len(bases)):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for offset in (0, 70, 71, 80, 81, 82):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", base + offset))
            return base
    raise AssertionError("no base is free")


class Background(Up):
    """One ``nerserve up --detach`` in *directory*, whose ports follow from a base, and commands for it."""

    def __init__(self, directory, settings=""):
        super().__init__(directory, settings=settings)
        self.base = free_base()
        self.site, self.inference, self.management, self.metrics = (
            f"http://127.0.0.1:{self.base + offset}" for offset in (0, 80, 81, 82)
        )
        self.grpc = f"127.0.0.1:{self.base + 70}"

    def options(self):
        options = super().options()
        options[options.index("--port")] = "--port-base"
        options[options.index("--port-base") + 1] = str(self.base)
        return options

    def run(self, *arguments, check=True):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NERSERVE_")}
        environment |= {"TEST_MARK": self.mark, "TINY_BROKEN": str(self.broken), "TINY_ASLEEP": str(self.asleep)}
        done = subprocess.run(
            [sys.executable, "-m", "nerserve.cli", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,  # which ends when nobody has the pipes any more
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def command(self, *arguments, check=True):
        """What a command says for this state directory; in this process, which is quicker."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main([*arguments, "--state-dir", str(self.state_dir)])
        assert not check or status == 0, out.getvalue() + err.getvalue()
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    def up(self, *arguments, check=True):
        return self.run("up", "--detach", *self.options(), *arguments, check=check)

    @property
    def handle(self):
        return json.loads((self.state_dir / "instance.json").read_text())

    def end(self):
        for process in self.left_behind():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.wait_until_nothing_is_left()


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    """A Background that is up, what its start printed in ``started``."""
    background = Background(tmp_path_factory.mktemp("background"))
    try:
        background.started = background.up()
        yield background
    finally:
        background.end()


def test_detach_prints_what_the_foreground_does_and_how_to_stop_it(background):
    lines = background.started.stdout.splitlines()
    ready = next(i for i, line in enumerate(lines) if line.startswith("Ready after "))

    assert background.started.stderr == ""
    assert [line.split() for line in lines[ready + 1 :] if not line.startswith("  Try ")] == [
        ["Site", background.site],
        ["Inference", f"{background.inference}/predictions/en"],
        ["gRPC", background.grpc],
        ["Management", f"{background.management}/models"],
        ["Metrics", f"{background.metrics}/metrics"],
        ["Key", "nerserve", "key", "--state-dir", str(background.state_dir)],
        f"Stop it with: nerserve down --state-dir {background.state_dir}".split(),
    ]
    assert background.predict().json()["entities"][0]["text"] == "Barack Obama"
    assert requests.get(f"{background.site}/readyz", timeout=ANSWER_S).status_code == 200


def test_it_is_a_daemon_and_its_output_is_in_its_state_directory(background):
    process = psutil.Process(background.handle["pid"])
    family = [process, *process.children()]

    logged = [json.loads(line)["message"] for line in (background.state_dir / "logs" / "up.log").open()]

    assert os.getsid(process.pid) == process.pid
    assert process.terminal() is None
    opened = {str(Path(f"/proc/{one.pid}/fd/{number}").readlink()) for one in family for number in (0, 1, 2)}
    elsewhere = {path for path in opened if not path.startswith((str(background.state_dir / "logs"), "pipe:"))}
    assert elsewhere == {"/dev/null"}
    assert logged[-8:] == background.started.stdout.splitlines()[-8:]


def test_status_says_that_it_is_up_and_where(background):
    said = background.command("status").stdout.splitlines()

    assert said[0].startswith("ready since ")
    assert f"pid {background.handle['pid']}" in said[0]
    assert [line.split()[:2] for line in said[1:6]] == [
        ["Site", background.site],
        ["Inference", background.inference],
        ["gRPC", background.grpc],
        ["Management", background.management],
        ["Metrics", background.metrics],
    ]
    assert said[-1].split() == ["en", "1.0", "*", "1", "1"]


def test_status_as_json(background):
    content = json.loads(background.command("status", "--json").stdout)

    assert content["state"] == "ready"
    assert content["site"] == {"url": background.site, "is_ready": True}
    assert content["torchserve"]["management"] == background.management
    assert content["torchserve"]["answers"]
    assert content["models"] == [
        {
            "name": "en",
            "default": "1.0",
            "answers": True,
            "versions": [{"version": "1.0", "num_ready": 1, "num_workers": 1}],
        }
    ]
    assert content["problems"] == []


def test_a_second_start_says_that_there_is_one_with_the_status_of_the_foreground(background):
    second = background.up(check=False)

    assert second.returncode == 3
    assert second.stderr == (
        f"nerserve: another nerserve runs with the state directory {background.state_dir}; "
        "stop it, or choose another with --state-dir\n"
    )
    assert background.model_answers()


def test_what_does_not_come_up_ends_with_the_lines_that_say_why(tmp_path):
    broken = Background(tmp_path, settings="vmargs=-XX:NoSuchOption\n")
    try:
        done = broken.up(check=False)

        assert done.returncode == 1
        said = done.stderr.splitlines()
        assert said[0].startswith("  | ")
        assert "NoSuchOption" in done.stderr
        assert said[-1] == "nerserve: TorchServe ended at once (exit status 1)"
        assert "Waiting for TorchServe to write its keys" in done.stdout
        assert not (broken.state_dir / "instance.json").exists()
        assert broken.command("status", check=False).returncode == 7
        logged = (broken.state_dir / "logs" / "up.log").read_text().splitlines()[-1]
        assert json.loads(logged)["message"] == "TorchServe ended at once (exit status 1)"
        broken.wait_until_nothing_is_left()
    finally:
        broken.end()


def test_management_over_grpc_is_in_the_same_range(background):
    (java,) = [
        one for one in psutil.Process(background.handle["pid"]).children() if "ModelServer" in str(one.cmdline())
    ]

    ports = {one.laddr.port for one in java.net_connections("tcp") if one.status == psutil.CONN_LISTEN}

    assert ports == {background.base + offset for offset in (70, 71, 80, 81, 82)}


def test_the_state_directory_is_all_that_an_operator_s_command_needs(background):
    scaled = background.command("scale", "en", "--workers", "2")
    listed = background.command("models")
    key = background.command("key", "management").stdout.strip()
    back = background.command("scale", "en", "--workers", "1", "--json")

    assert "en 1.0: 2 of 2 workers ready" in scaled.stdout
    assert listed.stdout.splitlines()[1].split()[:5] == ["en", "1.0", "*", "2", "2"]
    assert key == background.management_key.text
    assert json.loads(back.stdout)["num_ready"] == 1


def test_options_and_variables_win_over_the_state_directory(background, monkeypatch):
    (free,) = free_ports(1)
    elsewhere = f"http://127.0.0.1:{free}"

    option = background.command("models", "--management", elsewhere, check=False)
    monkeypatch.setenv("NERSERVE_MANAGEMENT_URL", elsewhere)
    variable = background.command("models", check=False)

    said = f"nerserve: nothing listens at {elsewhere}: is `nerserve up` running?\n"
    assert (option.returncode, option.stderr) == (10, said)
    assert (variable.returncode, variable.stderr) == (10, said)


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("site", "the site"),
        ("inference", "TorchServe's inference port"),
        ("metrics", "TorchServe's metrics port"),
        ("grpc", "TorchServe's gRPC port"),
    ],
)
@pytest.mark.parametrize("command", ["models", "scale en --workers 1", "describe en"])
def test_a_wrong_port_for_management_is_named(background, port, name, command):
    url = getattr(background, port) if port != "grpc" else f"http://{background.grpc}"

    done = background.command(*command.split(), "--management", url, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        f"nerserve: {url} is {name}; expected TorchServe's management port: {background.management} for the nerserve "
        f"up with the state directory {background.state_dir}\n"
    )


@pytest.mark.parametrize(("port", "name"), [("site", "the site"), ("management", "TorchServe's management port")])
def test_a_wrong_port_for_inference_is_named_before_anything_is_changed(background, port, name):
    url = getattr(background, port)

    done = background.command("rollout", "en", "en.mar", "--inference", url, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        f"nerserve: {url} is {name}; expected TorchServe's inference port: {background.inference} for the nerserve "
        f"up with the state directory {background.state_dir}\n"
    )
    (model,) = json.loads(background.command("models", "--json").stdout)["models"]
    assert [one["version"] for one in model["versions"]] == ["1.0"]


def test_https_for_http_is_said(background):
    url = background.management.replace("http:", "https:")

    done = background.command("models", "--management", url, check=False)

    assert done.returncode == 2
    assert done.stderr == f"nerserve: {url} speaks no TLS; expected {background.management}\n"


def test_the_logs_are_printed_by_name(background):
    logs = background.command("logs", "up").stdout.splitlines()

    assert json.loads(logs[-1])["message"].startswith("Stop it with: ")
    wrong = background.command("logs", "nothing", check=False)
    assert wrong.returncode == 2
    assert re.search(r"no log nothing in \S+; there are up, site, torchserve, access, model\n", wrong.stderr)


def test_what_does_not_answer_is_said(background):
    requests.put(
        f"{background.management}/models/en?min_worker=0&max_worker=0", auth=background.management_key, timeout=ANSWER_S
    )
    try:
        background.wait_until(lambda: background.command("status", check=False).returncode == 7)
        content = json.loads(background.command("status", "--json", check=False).stdout)

        assert content["state"] == "impaired"
        assert content["models"][0]["answers"] is False
        assert [problem.split(":")[0] for problem in content["problems"]] == ["model en", "the site is not ready"]
    finally:
        background.command("scale", "en", "--workers", "1")
        background.wait_until(background.site_answers)


# From here on another version is the default.
def test_a_file_of_this_machine_goes_into_the_model_store_that_the_state_directory_names(background, tmp_path):
    write_archive(tmp_path / "en.mar", name="en", version="1.1", model_config=QUICKLY_GIVEN_UP)

    registered = background.command("register", str(tmp_path / "en.mar"), "--no-canary")

    assert "en 1.1 has 1 workers ready" in registered.stdout
    assert (background.model_store / "en-1.1.mar").read_bytes() == (tmp_path / "en.mar").read_bytes()
    rolled = background.command("rollback", "en", "--to", "1.1", "--grace", "0")
    assert f"restarts serve 1.1 too: {background.model_store / 'en.mar'}" in rolled.stdout


# It stops the shared one, so it is the last.
def test_down_waits_until_nothing_of_it_is_left(background):
    process = psutil.Process(background.handle["pid"])

    done = background.command("down", "--json")

    assert done.stderr.splitlines()[-1].startswith("Stopped after ")
    assert json.loads(done.stdout).items() >= {"state": "stopped", "pid": process.pid}.items()
    assert not is_there(process)
    assert background.left_behind() == []
    assert not (background.state_dir / "instance.json").exists()
    logged = [json.loads(line)["message"] for line in (background.state_dir / "logs" / "up.log").open()]
    assert logged[-1] == "Stopped."
    for command in ("status", "down"):
        again = background.command(command, check=False)
        assert again.returncode == 7
        assert f"no nerserve up runs with the state directory {background.state_dir}" in again.stderr
    content = json.loads(background.command("status", "--json", check=False).stdout)
    assert content == {"state": "stopped", "state_dir": str(background.state_dir)}
