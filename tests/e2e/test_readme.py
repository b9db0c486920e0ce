"""The README's own commands, run as they stand (but for the ports), print what the README says they print."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path("README.md").read_text("utf-8")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SIZE = re.compile(r"(\d+\.\d) MB")
NERSERVE = Path(sys.executable).with_name("nerserve")
FIRST_START = README.partition("$ scripts/up\n")[2].partition("```")[0]
BUNDLES = sorted(path.name for path in Path("models").iterdir() if path.is_dir())


def console_commands():
    """(command, output) of every console block that asks for entities."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if command.startswith(("curl", "nerserve predict")):
                yield command, output


@pytest.mark.parametrize(("command", "output"), list(console_commands()))
def test_a_command_of_the_readme_prints_what_it_says(served, command, output):
    environment = os.environ | {
        "PATH": f"{NERSERVE.parent}:{os.environ['PATH']}",
        "NERSERVE_STATE_DIR": str(served.log_dir),
    }
    for address, ours in (("http://127.0.0.1:8080", served.inference), ("http://127.0.0.1:8000", served.site)):
        command = command.replace(address, ours)

    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)

    assert DIGEST.sub("sha256:…", done.stdout).strip() == output.strip()


def test_the_lines_of_python_print_what_the_readme_says():
    (lines,) = re.findall(r"```pycon\n(.*?)```", README, re.DOTALL)
    session = doctest.DocTestParser().get_doctest(lines, {}, "README.md", None, None)

    results = doctest.DocTestRunner().run(session)

    assert results == doctest.TestResults(failed=0, attempted=3)


def test_the_readme_shows_every_request_form():
    commands = [command for command, _ in console_commands()]

    assert len(commands) >= 5
    assert all(any(form in command for command in commands) for form in ("text/plain", '"text":', '"texts":', "/api/"))


def test_nerserve_up_prints_what_the_readme_says(served):
    shown = FIRST_START.partition("Java 17")[2].splitlines()[1:]

    printed = (served.log_dir.parent / "output").read_text()

    assert len(shown) >= 9
    for line in shown:
        pattern = re.escape(line).replace(r"3\.5", r"[\d.]+")
        pattern = re.sub(r":(80|70)[0-9]{2}", r":[0-9]+", pattern) + r"( --state-dir \S+)?"
        assert re.search(f"^{pattern}$", printed, re.MULTILINE), line


def test_the_first_start_packs_every_bundle_that_we_ship():
    assert sorted(re.findall(r"^packing models/(.*)$", FIRST_START, re.MULTILINE)) == BUNDLES


@pytest.mark.parametrize("bundle", BUNDLES)
def test_packing_a_bundle_prints_what_the_readme_says(bundle, tmp_path):
    shown = FIRST_START.partition(f"packing models/{bundle}\n")[2].splitlines()[:2]

    done = subprocess.run(
        [NERSERVE, "archive", f"models/{bundle}", "--keep-rolled-out", "--model-store", tmp_path / "model-store"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )

    printed = DIGEST.sub("sha256:…", done.stdout).replace(f"{tmp_path}/", "").splitlines()
    assert printed[0] == f"packing models/{bundle}"
    assert [SIZE.sub("MB", line) for line in printed[1:]] == [SIZE.sub("MB", line) for line in shown]
    assert float(SIZE.search(printed[-1])[1]) == pytest.approx(float(SIZE.search(shown[-1])[1]), abs=0.5)
