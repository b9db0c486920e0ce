"""Every command of docs/api.md, run as it stands (but for the ports), prints what the guide says it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from web.config import WebConfig

GUIDE = Path("docs/api.md").read_text("utf-8")


def console_commands():
    """(command, output) of every console block; a command ends where its lines stop ending with a backslash or pipe."""
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL):
        yield from re.findall(r"^\$ ((?:.*[\\|]\n)*.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def pattern_of(output):
    """What *output* stands for: ``…`` is anything within a line, a line of ``…`` alone is any lines."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in output.splitlines()
    ]
    return "".join(lines)


@pytest.mark.parametrize(("command", "output"), list(console_commands()))
def test_a_command_of_the_guide_prints_what_it_says(served, tmp_path, command, output):
    ports = {"8080": served.inference, "8000": served.site}
    for port, ours in ports.items():
        command = command.replace(f"http://127.0.0.1:{port}", ours)
    command = command.replace("127.0.0.1:7070", served.grpc).replace("nerserve-client", str(tmp_path / "client"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "NERSERVE_URL": served.site,
        "NERSERVE_GRPC": served.grpc,
        "NERSERVE_STATE_DIR": str(served.log_dir),
    }

    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=250
    )

    shown = done.stdout + done.stderr
    assert re.fullmatch(pattern_of(output), shown.rstrip("\n") + "\n" if shown else ""), shown


def test_the_guide_shows_every_way_in():
    commands = "\n".join(command for command, _ in console_commands())

    for way in (
        *("text/plain", '"text":', '"texts":', "x-ndjson", "offsets", "labels", "threshold", "X-Request-Id"),
        *("X-Request-Timeout", "/explanations/", ":predict", "/infer", "grpc", "/metrics", "/readyz", "openapi.json"),
    ):
        assert way in commands, way


def test_the_limits_in_the_guide_are_the_defaults():
    limits = WebConfig().limits

    assert f"{limits.max_chars:,} characters" in GUIDE
    assert f"{limits.request_bytes:,} bytes" in GUIDE
