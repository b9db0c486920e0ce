"""One nerserve up in the background, and the commands that need nothing but its state directory."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e.instance import ANSWER_S, ROOT, Up, is_there

pytestmark = pytest.mark.timeout(900)


class Background(Up):
    """One ``nerserve up --detach`` in *directory*, and commands for it."""

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
        return self.run(*arguments, "--state-dir", str(self.state_dir), check=check)

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
    assert [line.split() for line in lines[ready + 1 :]] == [
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
    broken = Background(tmp_path)
    broken.broken.touch()
    try:
        done = broken.up(check=False)

        assert done.returncode == 1
        said = done.stderr.splitlines()
        assert "  | RuntimeError: the tiny model does not load" in said
        assert said[-1] == "nerserve: a model does not load"
        assert "Waiting for model en to load" in done.stdout
        assert not (broken.state_dir / "instance.json").exists()
        assert broken.command("status", check=False).returncode == 7
        broken.wait_until_nothing_is_left()
    finally:
        broken.end()


# It stops the shared one, so it is the last.
def test_down_waits_until_nothing_of_it_is_left(background):
    process = psutil.Process(background.handle["pid"])

    done = background.command("down")

    assert done.stdout.splitlines()[-1].startswith("Stopped after ")
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
