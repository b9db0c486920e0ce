"""Field texts: how they are read and scored, and what the shipped model makes of the exam in ``tests/field``."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from contract.entities import Entity
from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.errors import CorpusError, InputError
from training.scoring.evaluation import Score
from training.scoring.field import FieldScore, FieldText, TaggedField, TaggedFieldText, read_field_texts, tag_field

EXAM = Path(__file__).parents[3] / "field"
FILES = ("splitter", "lines", "tokens", "slips", "layout", "names", "words")
KEYS = {"kind", "text", "right", "negative", "sentences", "words"}


@pytest.fixture
def write(tmp_path):
    """``write(value, ...)``: a file of field texts with a line for each value, a JSON string as it is."""

    def written(*values):
        lines = (value if isinstance(value, str) else json.dumps(value) for value in values)
        path = tmp_path / "field.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return written


def row(text, *right, kind="any"):
    return {"kind": kind, "text": text, "right": [list(entity) for entity in right]}


class CapitalTagger:
    """Finds each capitalised word in a text, as a place if it ends in ``o``, as a person otherwise."""

    config = SimpleNamespace(model=SimpleNamespace(labels=("person", "place")))

    def tag(self, texts):
        return [
            [
                Entity(word[0], "place" if word[0].endswith("o") else "person", *word.span(), 0.5)
                for word in re.finditer(r"\b[A-Z][a-z]+", text)
            ]
            for text in texts
        ]


@pytest.mark.parametrize(
    ("text", "right", "offsets"),
    [
        ("Ann met Ann.", [("Ann", "PER"), ("Ann", "PER")], [(0, 3), (8, 11)]),
        ("Annapolis is Ann's town", [("Ann", "PER")], [(13, 16)]),
        ("_Ann_ went to Oslo³", [("Ann", "PER"), ("Oslo", "LOC")], [(1, 4), (14, 18)]),
        ("Annʼs home, São\nPaulo", [("Ann", "PER"), ("São\nPaulo", "LOC")], [(0, 3), (12, 21)]),
        ("rain", [], []),
    ],
)
def test_entities_are_found_in_the_order_of_the_text(write, text, right, offsets):
    (read,) = read_field_texts(write(row(text, *right)))

    assert [span[:2] for span in read.right] == offsets
    assert [span.label for span in read.right] == [label for _, label in right]


def test_a_label_map_renames_and_drops_labels(write):
    path = write("", row("Ann in Oslo", ("Ann", "PER"), ("Oslo", "LOC"), kind="a kind") | {"got": 1})

    assert read_field_texts(path, {"PER": "person", "LOC": "O"}) == [
        FieldText("a kind", "Ann in Oslo", (Span(0, 3, "person"),), 2)
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", ":2: expected a JSON object: Expecting property name"),
        ('"Ann"', ':2: expected a JSON object with "kind", "text" and "right", got a string'),
        ({"text": "Ann", "right": []}, ':2: expected "kind" to be a string that is not blank, got none'),
        (row("Ann", kind=""), ':2: expected "kind" to be a string that is not blank, got a blank one'),
        (row(" "), ':2: expected "text" to be a string that is not blank, got a blank one'),
        ({"kind": "a", "text": 3, "right": []}, ':2: expected "text" to be a string that is not blank, got a number'),
        ({"kind": "a", "text": "Ann"}, ':2: expected "right" to be a list of [text, label], got none'),
        ({"kind": "a", "text": "Ann", "right": None}, ':2: expected "right" to be a list of [text, label], got null'),
        (row("Ann", ("Ann",)), """:2: expected "right" to be a list of [text, label], got ['Ann'] in it"""),
        (row("Ann", ("Ann", 1)), """:2: expected "right" to be a list of [text, label], got ['Ann', 1] in it"""),
        (row("Ann", ("", "PER")), """:2: expected "right" to be a list of [text, label], got ['', 'PER'] in it"""),
        (
            row("Ann", ("Bob", "PER")),
            """:2: expected entities in "right" that are whole words of the text, in its order, got 'Bob\'""",
        ),
        (
            row("a b", ("b", "PER"), ("a", "PER")),
            """:2: expected entities in "right" that are whole words of the text, in its order""",
        ),
        (
            row("Annapolis", ("Ann", "PER")),
            """:2: expected entities in "right" that are whole words of the text, in its order""",
        ),
    ],
)
def test_a_line_that_is_no_field_text_is_named(write, line, problem):
    path = write(row("Ann"), line)

    with pytest.raises(CorpusError) as raised:
        read_field_texts(path)

    assert str(raised.value).startswith(f"{path}{problem}")


def test_a_file_without_field_texts_is_refused(write):
    with pytest.raises(CorpusError, match=r"field\.jsonl: expected field texts, got none"):
        read_field_texts(write(""))


def test_scores_are_of_each_kind_and_of_all(write):
    path = write(
        row("Ann left.", ("Ann", "person"), kind="b"),
        row("Bob is in Oslo.", ("Bob", "person"), kind="a"),
        row("He saw Rome.", ("Rome", "place"), kind="b"),
        row("rain", kind="b"),
    )

    (tagged,) = tag_field(CapitalTagger(), [path])

    # found: Ann | Bob and Oslo | He and Rome, both as persons | nothing
    assert list(tagged.scores.items()) == [
        ("b", FieldScore(3, 2, Score(1, 3, 2))),
        ("a", FieldScore(1, 0, Score(1, 2, 1))),
    ]
    assert tagged.total == FieldScore(4, 2, Score(2, 5, 3))
    assert tagged.to_dict()["all"] == {
        "texts": 4,
        "exact_texts": 2,
        "exact": 0.5,
        "entities": {"precision": 0.4, "recall": 0.6667, "f1": 0.5, "correct": 2, "predicted": 5, "gold": 3},
    }
    assert tagged.table() == (
        "     texts  exact  share  precision  recall     F1  gold  found\n"
        "b        3      2  66.7%      33.3%   50.0%  40.0%     2      3\n"
        "a        1      0   0.0%      50.0%  100.0%  66.7%     1      2\n"
        "all      4      2  50.0%      40.0%   66.7%  50.0%     3      5"
    )


def test_a_label_map_and_a_choice_of_labels_are_applied_to_both_sides(write):
    path = write(row("Ann in Oslo", ("Ann", "NAME"), ("Oslo", "TOWN")))
    names = {"person": "NAME", "place": "TOWN", "NAME": "NAME", "TOWN": "TOWN"}

    (tagged,) = tag_field(CapitalTagger(), [path], names)
    assert tagged.total == FieldScore(1, 1, Score(2, 2, 2))

    (tagged,) = tag_field(CapitalTagger(), [path], names, ["TOWN"])
    assert tagged.total == FieldScore(1, 1, Score(1, 1, 1))


@pytest.mark.parametrize(
    ("only", "error", "problem"),
    [
        ([], CorpusError, r"field\.jsonl:2: expected labels of person, place, got day; --label-map FILE maps"),
        (["day"], InputError, "--labels: expected labels of person, place, got 'day'"),
    ],
)
def test_a_label_that_the_model_cannot_predict_is_refused(write, only, error, problem):
    path = write(row("Ann", ("Ann", "person")), row("Monday", ("Monday", "day")))

    with pytest.raises(error, match=problem):
        tag_field(CapitalTagger(), [path], only=only)


def test_labels_that_are_not_chosen_need_not_be_the_models(write):
    path = write(row("Ann on monday", ("Ann", "person"), ("monday", "day")))

    (tagged,) = tag_field(CapitalTagger(), [path], only=["person"])

    assert tagged.total == FieldScore(1, 1, Score(1, 1, 1))


def test_the_page_of_errors_gets_the_pieces_between_entities_by_kind():
    text = "In New York City\nAnn Lee left"
    right = (Span(3, 16, "LOC"), Span(17, 20, "PER"))
    found = (ScoredSpan(Span(3, 11, "LOC"), 0.9), ScoredSpan(Span(17, 24, "PER"), 0.8))

    rows = [TaggedFieldText(FieldText(kind, text, right, line), found) for line, kind in ((7, "a"), (8, "b"), (9, "a"))]

    corpus, other = TaggedField("f", rows).as_corpora()

    (words, gold, shown), _ = corpus.sentences
    assert [(one.name, one.lines) for one in (corpus, other)] == [("f: a", [7, 9]), ("f: b", [8])]
    assert words == ("In", "New York", "City", "Ann", "Lee", "left")
    assert gold == (Span(1, 3, "LOC"), Span(3, 4, "PER"))
    assert shown == (ScoredSpan(Span(1, 2, "LOC"), 0.9), ScoredSpan(Span(3, 5, "PER"), 0.8))


@pytest.fixture(scope="module")
def exam():
    """The rows of each file of the exam."""
    return {
        path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in EXAM.iterdir()
        if path.suffix == ".jsonl"
    }


def test_the_exam_has_the_labels_and_the_keys_that_its_guide_names(exam):
    assert sorted(exam) == sorted(FILES)
    for name, rows in exam.items():
        texts = read_field_texts(EXAM / f"{name}.jsonl")
        assert {span.label for text in texts for span in text.right} <= {"PER", "ORG", "LOC", "MISC"}
        assert [row for row in rows if not KEYS >= row.keys() >= {"kind", "text", "right"}] == []
        assert [row for row in rows if row.get("negative", True) is not True] == []


def test_no_text_is_twice_in_the_exam(exam):
    counts = Counter(row["text"] for rows in exam.values() for row in rows)

    assert [text for text, count in counts.items() if count > 1] == []


def test_every_kind_of_the_exam_has_ten_texts_and_many_counter_examples(exam):
    for rows in exam.values():
        texts = Counter(row["kind"] for row in rows)
        negatives = Counter(row["kind"] for row in rows if row.get("negative"))
        assert {kind: count for kind, count in texts.items() if count < 10} == {}
        assert {
            kind: negatives[kind] for kind, count in texts.items() if not 1 / 3 <= negatives[kind] / count <= 2 / 3
        } == {}


#: The number of texts of each file that models/en gets right, less two.
FLOORS = {"splitter": 81, "lines": 85, "tokens": 152, "slips": 64, "layout": 226, "names": 130, "words": 143}


def test_the_shipped_model_keeps_its_level_in_the_exam():
    tagged = tag_field(Tagger.load(Path("models/en")), [EXAM / f"{name}.jsonl" for name in FLOORS])

    reached = {Path(file.name).stem: file.total.num_exact for file in tagged}
    assert {name: (reached[name], floor) for name, floor in FLOORS.items() if reached[name] < floor} == {}
