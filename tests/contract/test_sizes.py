"""Sizes that keep the house readable: modules in a folder, lines in a function."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL_FOLDERS = ("contract", "handler", "archive", "web", "ops", "nerserve", "bench", "training")
SHORT_FUNCTIONS = (*SMALL_FOLDERS, "deploy", "examples", "tests/drills", "tests/containers")
MAX_MODULES = 16
MAX_LINES = 60
PARSERS = re.compile(r"\w+_parsers?|_?add_\w*(arguments|options)")


def folders():
    found = {path.parent for name in SMALL_FOLDERS for path in (ROOT / name).rglob("*.py")}
    return sorted(str(folder.relative_to(ROOT)) for folder in found)


def modules():
    found = (path for name in SHORT_FUNCTIONS for path in (ROOT / name).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


@pytest.mark.parametrize("folder", folders())
def test_a_folder_has_few_modules(folder):
    names = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]

    assert len(names) <= MAX_MODULES


@pytest.mark.parametrize("module", modules())
def test_a_function_is_short_unless_it_defines_arguments(module):
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    lengths = [(one.name, 1 + one.end_lineno - one.lineno) for one in functions if not PARSERS.fullmatch(one.name)]

    assert [(name, length) for name, length in lengths if length > MAX_LINES] == []
