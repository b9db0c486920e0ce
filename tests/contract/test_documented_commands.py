"""The commands of the guides are commands that there are, with options that there are."""

import re
import shlex
from pathlib import Path

import pytest

from contract.exit_status import ExitStatus
from nerserve.cli import make_parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
STATUS = re.compile(r"\*\*(\d+)\*\*")


def commands(document):
    """The arguments of every ``nerserve`` in a console or shell block of *document*."""
    text = (ROOT / document).read_text("utf-8")
    for block in re.findall(r"```(?:console|sh)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?nerserve (.*)", line)
            if found:
                yield re.split(r" [|>&] |  +#| # ", found[1])[0]


@pytest.mark.parametrize(("document", "command"), [(name, one) for name in DOCUMENTS for one in commands(name)])
def test_a_command_of_a_guide_is_taken(document, command):
    make_parser().parse_args(shlex.split(command))


def test_the_guides_have_commands():
    assert len(list(commands("docs/operations.md"))) > 10
    assert sum(len(list(commands(document))) for document in DOCUMENTS) > 15


def test_every_exit_status_is_in_the_operator_s_guide():
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Exit statuses")[2].partition("## ")[0]

    assert list(map(int, STATUS.findall(section))) == list(ExitStatus)
