"""``nerserve completion``, as the shells themselves take it."""

import subprocess

import pytest

from nerserve.cli import main

COMPLETE = """
set -euo pipefail
source ./nerserve.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p nerserve | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
"$function" nerserve "${!#}" "${@: -2:1}" || true
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(tmp_path, capsys):
    """``completed(*words)``: what bash offers for the last of *words*, in a folder with a bundle and a text."""
    assert main(["completion", "bash"]) == 0
    (tmp_path / "nerserve.bash").write_text(capsys.readouterr().out)
    (tmp_path / "models" / "en").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()

    def complete(*words):
        command = ["bash", "--norc", "-c", COMPLETE, "bash", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [word.strip() for word in done.stdout.split("\n") if word.strip()]

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["nerserve", "pre"], ["predict"]),
        (["nerserve", "roll"], ["rollout", "rollback"]),
        (["nerserve", "up", "--model-s"], ["--model-store"]),
        (["nerserve", "predict", "--format", "js"], ["jsonl"]),
        (["nerserve", "rollout", "--old", "st"], ["standby", "stopped"]),
        (["nerserve", "data", "ch"], ["check"]),
        (["nerserve", "predict", "no"], ["notes.txt"]),
        (["nerserve", "evaluate", "models/"], ["models/en"]),
        (["nerserve", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes_commands_options_choices_and_files(completed, words, offered):
    assert sorted(word.rstrip("/") for word in completed(*words)) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_every_shell_s_script_has_the_commands_and_their_options(capsys, shell):
    assert main(["completion", shell]) == 0

    script = capsys.readouterr().out
    assert {name for name in ("predict", "rollback", "max-disagreement", "displacy") if name not in script} == set()
