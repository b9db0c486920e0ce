"""``nerserve data convert``: what is written is read again with the same entities, and what is not kept is said."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.labels import Span
from nerserve.cli import main
from training.corpora import Sentence, read_corpus, write_conll
from training.corpora.convert import convert

GERMEVAL = """\
#\thttp://example.org/a [2009-10-17]
1\tTU\tB-ORG\tO
2\tBerlin\tI-ORG\tB-LOC
3\tlebt\tO\tO
"""
DOCCANO = (
    '{"id": 7, "text": "Ann  Lee\\u2028met\\ud83d Bob.", "label": [[0, 8, "PER"], [14, 17, "PER"]], "Comments": []}\n'
)
TASKS = '[{"id": 1, "data": {"text": "In Oslo. Ann left."}, "annotations": [{"result": [{"type": "labels", "value":'
TASKS += ' {"start": 3, "end": 7, "text": "Oslo", "labels": ["LOC"]}}]}]}]'
HUGGING_FACE = '{"tokens": ["Ann", "Lee", "left"], "ner_tags": [1, 2, 0]}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "germeval.tsv": GERMEVAL,
        "doccano.jsonl": DOCCANO,
        "tasks.json": TASKS,
        "hf.jsonl": HUGGING_FACE,
    }.items():
        (tmp_path / name).write_text(content, "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "written", "said"),
    [
        ("germeval.tsv --tag-column 3 --out new.conll", "TU\tB-ORG\nBerlin\tI-ORG\nlebt\tO\n\n", "other columns"),
        ("germeval.tsv --tag-column 4 --out new.txt", "TU\tO\nBerlin\tB-LOC\nlebt\tO\n\n", "ends of documents"),
        (
            "germeval.tsv --tag-column 3 --out new.jsonl",
            '{"text": "TU Berlin lebt", "entities": [{"start": 0, "end": 9, "label": "ORG"}]}\n',
            "not kept: the words: each sentence becomes a text, joined by blanks",
        ),
        (
            "doccano.jsonl --out new.jsonl",
            '{"text": "Ann  Lee\\u2028met\\ud83d Bob.", "entities": [{"start": 0, "end": 8, "label": "PER"},'
            ' {"start": 14, "end": 17, "label": "PER"}]}\n',
            "not kept: ids, scores and other keys",
        ),
        ("tasks.json --out new --format conll", "In\tO\nOslo\tB-LOC\n.\tO\n\nAnn\tO\nleft\tO\n.\tO\n\n", "the blanks"),
        ("hf.jsonl --tag-names O,B-PER,I-PER --out new.bio", "Ann\tB-PER\nLee\tI-PER\nleft\tO\n\n", "not kept: "),
    ],
)  # fmt: skip
def test_any_file_is_written_in_either_format_and_what_is_lost_is_said(folder, capsys, arguments, written, said):
    assert main(["data", "convert", *arguments.split()]) == 0

    (new,) = folder.glob("new*")
    assert new.read_bytes().decode() == written
    out, errors = capsys.readouterr()
    assert out.startswith(f"{new.name}: ")
    assert said in errors


def test_labels_are_mapped_and_counts_are_there_as_json(folder, capsys):
    (folder / "map.json").write_text('{"PER": "person"}')

    assert main("data convert doccano.jsonl --out new.jsonl --label-map map.json --json".split()) == 0

    assert json.loads(capsys.readouterr().out) == {
        "out": "new.jsonl",
        "texts": 1,
        "entities": 2,
        "not_kept": ["ids, scores and other keys"],
    }
    assert [entity["label"] for entity in json.loads((folder / "new.jsonl").read_text())["entities"]] == ["person"] * 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("germeval.tsv --out new.conll", "expected one column of tags, got columns 3, 4"),
        ("germeval.tsv --out new.conll --tag-column 2", "expected tags in a column from 3 to 4, got 2"),
        ("germeval.tsv --out new.conll --tag-column 5", "expected tags in a column from 3 to 4, got 5"),
        ("hf.jsonl --out new.conll --tag-column 2", "hf.jsonl: expected CoNLL columns, as a column of tags is given"),
        ("hf.jsonl --out new.conll", "expected names of tags, got numbers"),
        ("hf.jsonl --out new.conll --tag-names O,B-PER", "expected a tag from 0 to 1, as there are names"),
        ("doccano.jsonl --out new.conll", "doccano.jsonl: sentence 2: '\\ud83d' cannot be written as a CoNLL"),
        ("doccano.jsonl --out new.pdf", "new.pdf: expected a name that ends in .conll or .jsonl, or --format"),
        ("doccano.jsonl --out no/new.jsonl", "no/new.jsonl: cannot be written: No such file or directory"),
        ("tasks.json --out doccano.jsonl", "doccano.jsonl: is there already; --overwrite replaces it"),
        ("none.conll --out doccano.jsonl --overwrite", "none.conll: cannot be read: No such file"),
        ("unseen.conll --out new.jsonl", "unseen.conll:2: expected an entity to hold a word, (2, 3) of its text"),
        ("empty.conll --out new.jsonl", "empty.conll: expected sentences, got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_said_and_nothing_is_written(folder, capsys, arguments, problem):
    (folder / "empty.conll").write_text("\n")
    (folder / "unseen.conll").write_text("\na\tO\n\u200b\tB-PER\n", "utf-8")

    assert main(["data", "convert", *arguments.split()]) == 2

    assert problem in capsys.readouterr().err
    assert list(folder.glob("new*")) == []
    assert (folder / "doccano.jsonl").read_text("utf-8") == DOCCANO


def test_a_file_may_become_its_own_conversion(folder):
    assert main("data convert germeval.tsv --tag-column 3 --out germeval.tsv --overwrite".split()) == 0

    assert (folder / "germeval.tsv").read_text() == "TU\tB-ORG\nBerlin\tI-ORG\nlebt\tO\n\n"
    assert sorted(path.name for path in folder.iterdir()) == ["doccano.jsonl", "germeval.tsv", "hf.jsonl", "tasks.json"]


words = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), min_size=1, max_size=6).filter(
    lambda word: word.strip() and word == word.strip(" ") and not word.startswith("\ufeff")
)


@settings(deadline=None)
@given(st.lists(st.lists(words, min_size=2, max_size=6), min_size=1, max_size=4), st.data())
def test_entities_are_the_same_characters_after_conversion_there_and_back(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("there")
    sentences = []
    for row in rows:
        row[0] = f"w{row[0]}w"  # an entity holds something that the server sees
        end = data.draw(st.integers(1, len(row)))
        sentences.append(Sentence(tuple(row), (Span(0, end, data.draw(st.sampled_from(["PER", "new work"]))),)))
    write_conll(folder / "a.conll", sentences)

    convert(folder / "a.conll", folder / "b.jsonl", "jsonl")
    convert(folder / "b.jsonl", folder / "c.jsonl", "jsonl")

    documents = [json.loads(line) for line in (folder / "b.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert [one["text"] for one in documents] == [" ".join(row) for row in rows]
    assert [[(one["text"][e["start"] : e["end"]], e["label"]) for e in one["entities"]] for one in documents] == [
        [(" ".join(row[: span.end]), span.label) for span in spans]
        for row, (_, spans, *_) in zip(rows, sentences, strict=True)
    ]
    assert (folder / "c.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    convert(folder / "b.jsonl", folder / "d.conll", "conll")
    assert [sentence[:2] for sentence in read_corpus(folder / "d.conll")] == [
        sentence[:2] for sentence in read_corpus(folder / "b.jsonl")
    ]
