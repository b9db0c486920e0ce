"""The README's own commands, run as they stand (but for the ports), print what the README says they print."""

import re
import subprocess
from pathlib import Path

import pytest

README = Path("README.md").read_text("utf-8")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def console_commands():
    """(command, output) of every console block that talks to a running server."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if command.startswith("curl"):
                yield command, output


@pytest.mark.parametrize(("command", "output"), list(console_commands()))
def test_a_command_of_the_readme_prints_what_it_says(served, command, output):
    for address, ours in (("http://127.0.0.1:8080", served.inference), ("http://127.0.0.1:8000", served.site)):
        command = command.replace(address, ours)

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)

    assert DIGEST.sub("sha256:…", done.stdout).strip() == output.strip()


def test_the_readme_shows_every_request_form():
    commands = [command for command, _ in console_commands()]

    assert len(commands) >= 5
    assert all(any(form in command for command in commands) for form in ("text/plain", '"text":', '"texts":', "/api/"))


def test_nerserve_up_prints_what_the_readme_says(served):
    shown = README.partition("Java 17")[2].partition("```")[0].splitlines()[1:]

    printed = (served.log_dir.parent / "output").read_text()

    assert len(shown) >= 9
    for line in shown:
        pattern = re.escape(line).replace(r"3\.5", r"[\d.]+")
        assert re.search(re.sub(r":(80|70)\d\d", r":\\d+", pattern), printed), line
