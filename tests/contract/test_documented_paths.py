"""What the documents link to or name as a file of the project is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", ".github/**/*.md", "docs/**/*.md", "models/*/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it names what was
)
FOLDERS = "archive|bench|contract|deploy|docs|examples|handler|nerserve|ops|requirements|scripts|tests|training|web"
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
NAMED = re.compile(rf"`(?![^`]*[A-Z]{{3}})((?:{FOLDERS})/[\w./-]*)`")  # NAME and the like stand for something
MODULE = re.compile(rf"python -m ((?:{FOLDERS})(?:\.\w+)+)")


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document):
    path = ROOT / document
    text = path.read_text("utf-8")

    linked = {link for link in LINK.findall(text) if not (path.parent / link).exists()}
    named = {name for name in NAMED.findall(text) if not (ROOT / name).exists()}
    run = {name for name in MODULE.findall(text) if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}

    assert linked | named | run == set()
