"""The field texts on the program are cut where a person would cut them; no model is asked."""

import json
import re
from pathlib import Path

import pytest

from handler.text.sentences import split_sentences

EXAM = Path(__file__).parent
ROWS = [
    json.loads(line)
    for name in ("splitter", "lines", "tokens")
    for line in (EXAM / f"{name}.jsonl").read_text("utf-8").splitlines()
]


def places(text, parts):
    """Where *parts* stand in *text*, one after the other, as half-open pairs."""
    found, end = [], 0
    for part in parts:
        found.append(re.compile(rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])").search(text, end).span())
        end = found[-1][1]
    return found


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['kind'].split()[0]}-{row['text'][:60]!r}" for row in ROWS])
def test_names_are_whole_tokens_of_one_sentence(row):
    sentences = split_sentences(row["text"])

    names = places(row["text"], [name for name, _ in row["right"]])
    broken = [
        (start, end)
        for start, end in names
        if not any(start in sentence.starts and end in sentence.ends for sentence in sentences)
    ]
    assert broken == []


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if "sentences" in row],
    ids=[f"{row['kind'].split()[0]}-{row['text'][:60]!r}" for row in ROWS if "sentences" in row],
)
def test_sentences_end_where_they_do(row):
    expected, end = [], 0
    for part in row["sentences"]:
        start = row["text"].index(part, end)
        end = start + len(part)
        expected.append((start, end))

    found = [(sentence.starts[0], sentence.ends[-1]) for sentence in split_sentences(row["text"])]

    inside = [start <= first and last <= end for (start, end), (first, last) in zip(expected, found, strict=False)]
    assert (len(found), all(inside)) == (len(expected), True), [row["text"][first:last] for first, last in found]


@pytest.mark.parametrize("row", [row for row in ROWS if "words" in row], ids=lambda row: repr(row["text"]))
def test_words_that_only_look_like_several_stay_whole(row):
    words = [word for sentence in split_sentences(row["text"]) for word in sentence.words]

    assert [word for word in row["words"] if word not in words] == []
