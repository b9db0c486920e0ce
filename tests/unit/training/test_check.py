"""Annotated files are counted and checked before a training."""

import json
import re

import gensim
import numpy as np
import pytest

from nerserve.cli import main

TRAIN = """\
Ann\tB-PER
lives\tO
in\tO
Oslo\tB-LOC
.\tO

Bob\tB-PER
met\tO
Ann\tB-PER
.\tO

"""
DEV = [
    {"text": "Ann lives in Oslo.", "entities": [[0, 3, "PER"], [13, 17, "LOC"]]},
    {"text": "It rains.", "entities": []},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.conll").write_text(TRAIN * 2)
    (tmp_path / "dev.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in DEV))
    vectors = gensim.models.KeyedVectors(2)
    vectors.add_vectors(["ann", "lives", "in", "."], np.ones((4, 2), np.float32))
    vectors.save_word2vec_format(str(tmp_path / "vectors.txt"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_are_counted(folder, capsys):
    assert main(["data", "check", "train.conll", "dev.jsonl", "--vectors", "vectors.txt", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["files"]["train.conll"] == {
        "sentences": 4,
        "tokens": 18,
        "entities": {"PER": 6, "LOC": 2},
        "longest": 5,
        "longest_line": 1,
        "repeated": 1,  # the sentence of 5 words, not that of 4
        "words": 7,
        "words_without_vector": 3,
        "tokens_without_vector": 6,  # Oslo, Bob and met, twice each
    }
    assert document["files"]["dev.jsonl"]["repeated"] == 1  # it stands in train.conll
    assert (document["warnings"], document["errors"]) == ([], [])


def test_the_counts_are_a_table(folder, capsys):
    assert main(["data", "check", "train.conll", "dev.jsonl"]) == 0

    captured = capsys.readouterr()
    head, *rows = [line.split() for line in captured.out.splitlines()]
    assert head == ["sentences", "tokens", "longest", "repeated", "entities", "PER", "LOC"]
    assert rows == [
        ["train.conll", "4", "18", "5", "1", "8", "6", "2"],
        ["dev.jsonl", "2", "8", "5", "1", "2", "1", "1"],
    ]
    assert captured.err == ""


@pytest.mark.parametrize(("num_tokens", "warned"), [(500, False), (501, True)])
def test_a_sentence_without_an_end_is_warned_of(folder, capsys, num_tokens, warned):
    (folder / "long.conll").write_text(TRAIN + "Ann\tB-PER\n" * num_tokens)

    assert main(["data", "check", "long.conll"]) == 0

    assert ("long.conll:12: a sentence of 501 tokens; are blank lines" in capsys.readouterr().err) == warned


def test_the_same_words_with_other_entities_are_warned_of(folder, capsys):
    (folder / "twice.conll").write_text(TRAIN + TRAIN.replace("B-LOC", "O"))

    assert main(["data", "check", "twice.conll"]) == 0

    assert "twice.conll:12: the words of line 1 with other entities; 1 such sentence" in capsys.readouterr().err


BAD_COLUMNS = TRAIN.replace("in\tO", "in\tNP").replace("met\tO", "met") + "Eve\tB-DAY\nBob\tB-\n"
BAD_LINES = "\n".join(
    [
        '{"text": "Ann", "entities": [[0, 9, "PER"]]}',
        "{",
        json.dumps(DEV[0]),
        '{"text": "Ann", "entities": [[0, 3, "DAY"]]}',
    ]
)
#: An array of objects over several lines cannot be read without a part of it: the first problem has to do.
BAD_ARRAY = '[{"text": "Ann",\n"entities": [[0, 9, "PER"]]},\n{"text": 7, "entities": []}]'


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("bad.conll", BAD_COLUMNS, [3, 8, 12, 13]),
        ("bad.jsonl", BAD_LINES, [1, 2, 4]),
        ("bad.json", BAD_ARRAY, [1]),
        ("many.conll", "Ann\tB-PER\n" + "in\tNP\n" * 30, [*range(2, 12)]),
    ],
)
def test_all_that_is_wrong_with_a_file_is_said_by_line(folder, capsys, name, content, lines):
    (folder / name).write_text(content)
    (folder / "map.json").write_text('{"PER": "PER", "LOC": "LOC"}')

    assert main(["data", "check", name, "--label-map", "map.json", "--json"]) == 2

    document = json.loads(capsys.readouterr().out)
    found = [re.match(rf"{name}:([0-9]+)", error) for error in document["errors"]]
    assert sorted(int(match[1]) for match in found if match) == lines
    assert (f"{name}: more may be wrong" in document["errors"]) == (name == "many.conll")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("It\tO\nrains\tO\n", "bad.conll: expected entities, got none"),
        ("", "bad.conll: expected sentences, got none"),
        ("Ann\tB-Örtlichkeit\n", "bad.conll: model.labels: expected letters, digits, - and _, got 'Örtlichkeit'"),
        ("Ann\tPER\n", "bad.conll:1: expected O or a tag such as B-PER, got 'PER'"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_and_the_others_are_counted(folder, capsys, content, problem):
    (folder / "bad.conll").write_text(content)

    assert main(["data", "check", "bad.conll", "none.conll", "train.conll"]) == 2

    captured = capsys.readouterr()
    assert f"error: {problem}" in captured.err
    assert "error: none.conll: cannot be read: No such file" in captured.err
    assert "train.conll" in captured.out
