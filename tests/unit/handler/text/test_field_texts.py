"""The field texts on the program, ``tests/field``, are cut into sentences and tokens as a person cuts them."""

import json
from pathlib import Path

import pytest

from handler.text.sentences import split_sentences
from training.scoring.field import read_field_texts

EXAM = Path(__file__).parents[3] / "field"

#: Texts whose names are still cut at a line end: one or two line ends do not tell how the text was wrapped.
OPEN = (
    "The letter was signed by Barack\nObama and sent to the United\nNations in Geneva.",
    "* he was asked about it by Angela\n  Merkel and then, later on, by Barack\n  Obama as well\n* she was not asked",
    "1\n00:00:01,000 --> 00:00:03,000\nHave you seen Angela\nMerkel in Berlin?",
)


def faults(text, names, row):
    """What :func:`split_sentences` does wrong in *text*: with *names*, spans, and what else *row* asks for."""
    sentences = split_sentences(text)
    problems = [
        f"no tokens of one sentence: {text[start:end]!r}"
        for start, end, _ in names
        if not any(start in sentence.starts and end in sentence.ends for sentence in sentences)
    ]
    words = {word for sentence in sentences for word in sentence.words}
    problems += [f"no token: {word!r}" for word in row.get("words", ()) if word not in words]
    if "sentences" in row:
        found = [(sentence.starts[0], sentence.ends[-1]) for sentence in sentences]
        expected, end = [], 0
        for part in row["sentences"]:
            start = text.index(part, end)
            end = start + len(part)
            expected.append((start, end))
        pairs = zip(expected, found, strict=False)
        if len(found) != len(expected) or any(first < start or last > end for (start, end), (first, last) in pairs):
            problems.append(f"sentences: {[text[first:last] for first, last in found]}")
    return problems


@pytest.mark.parametrize("name", ["splitter", "lines", "tokens"])
def test_the_program_cuts_field_texts_as_a_person_does(name):
    path = EXAM / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = read_field_texts(path)

    cut = {one.text: faults(one.text, one.right, row) for one, row in zip(texts, rows, strict=True)}
    assert {text: problems for text, problems in cut.items() if problems and text not in OPEN} == {}
    assert [text for text in OPEN if cut.get(text) == []] == []  # what is mended is open no more
