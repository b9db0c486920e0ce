"""JSON as annotation tools and libraries write it: read rightly, or refused with line, cause and way out."""

import json
import subprocess
import sys

import pytest

from handler.labels import Span
from training.corpora import Sentence, numbered_sentences, read_corpus
from training.errors import CorpusError

ANN = '"text": "Ann Lee lives in Oslo."'
WORDS = ("Ann", "Lee", "lives", "in", "Oslo", ".")
NAMES = Sentence(WORDS, (Span(0, 2, "PER"), Span(4, 5, "LOC")))
NOBODY = Sentence(WORDS, ())


def write(folder, content, name="corpus.jsonl"):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def task(*results, text="Ann Lee lives in Oslo.", **more):
    """A task as Label Studio exports it, with the spans of each annotator in *results*."""
    annotations = [
        {
            "id": 7,
            "was_cancelled": False,
            "result": [
                {
                    "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]},
                    "type": "labels",
                    "from_name": "label",
                    "to_name": "text",
                }
                for start, end, label in result
            ],
        }
        for result in results
    ]
    return {"id": 1, "data": {"text": text}, "annotations": annotations, "predictions": [], **more}


BOTH = [(0, 7, "PER"), (17, 21, "LOC")]


@pytest.mark.parametrize(
    "content",
    [
        # doccano of all times
        f'{{"id": 1, {ANN}, "label": [[0, 7, "PER"], [17, 21, "LOC"]], "Comments": []}}',
        f'{{"id": 1, {ANN}, "labels": [[0, 7, "PER"], [17, 21, "LOC"]]}}',
        '{"id": 1, "data": "Ann Lee lives in Oslo.", "label": [[17, 21, "LOC"], [0, 7, "PER"]]}',
        f'{{"id": 1, {ANN}, "entities": [{{"id": 2, "label": "PER", "start_offset": 0, "end_offset": 7}},'
        ' {"id": 3, "label": "LOC", "start_offset": 17, "end_offset": 21}], "relations": [], "Comments": []}',
        f'{{{ANN}, "annotations": [{{"label": "PER", "start_offset": 0, "end_offset": 7, "user": 1}},'
        ' {"label": "LOC", "start_offset": 17, "end_offset": 21, "user": 1}]}',
        # Prodigy, with labels of the whole text, too
        f'{{{ANN}, "tokens": [{{"text": "Ann", "start": 0, "end": 3, "id": 0}}], "label": "NEWS",'
        ' "spans": [{"start": 0, "end": 7, "token_start": 0, "token_end": 1, "label": "PER"},'
        ' {"start": 17, "end": 21, "label": "LOC"}],'
        ' "accept": ["A"], "options": [], "answer": "accept"}',
        # Label Studio
        json.dumps(task(BOTH)),
        json.dumps([task(BOTH)]),
        json.dumps([task(BOTH), task([])][:1], indent=2),
        json.dumps(task(BOTH, BOTH[::-1])),  # two who agree
        json.dumps({**task(BOTH), "annotations": [{"result": [], "was_cancelled": True}, *task(BOTH)["annotations"]]}),
        f'{{{ANN}, "id": 1, "label": [{{"start": 0, "end": 7, "text": "Ann Lee", "labels": ["PER"]}},'
        ' {"start": 17, "end": 21, "text": "Oslo", "labels": ["LOC"]}], "annotator": 1, "sentiment": "Positive"}',
        # spaCy
        '["Ann Lee lives in Oslo.", {"entities": [[0, 7, "PER"], [17, 21, "LOC"]], "cats": {}}]',
        '[["Ann Lee lives in Oslo.", {"entities": [[0, 7, "PER"], [17, 21, "LOC"]]}]]',
        '[\n  [\n    "Ann Lee lives in Oslo.",\n    {"entities": [[0, 7, "PER"],\n [17, 21, "LOC"]]}\n  ]\n]',
        '[\n"Ann Lee lives in Oslo.",\n{"entities": [[0, 7, "PER"], [17, 21, "LOC"]]}\n]',
        '{"classes": ["PER", "LOC"], "annotations": [null, ["Ann Lee lives in Oslo.",'
        ' {"entities": [[0, 7, "PER"], [17, 21, "LOC"]]}]]}',
        f'{{{ANN}, "ents": [{{"start": 0, "end": 7, "label": "PER"}}, {{"start": 17, "end": 21, "label": "LOC"}}],'
        ' "tokens": [{"id": 0, "start": 0, "end": 3}]}',
        # Hugging Face
        f'{{{ANN}, "entities": [{{"entity_group": "PER", "score": 0.9, "word": "ann lee", "start": 0, "end": 7}},'
        ' {"entity_group": "LOC", "word": "Oslo", "start": 17, "end": 21}]}',
        '{"id": "0", "tokens": ["Ann", "Lee", "lives", "in", "Oslo", "."], "ner_tags": ["B-PER", "I-PER", "O", "O",'
        ' "B-LOC", "O"], "pos_tags": [1, 2, 3, 4, 5, 6]}',
        '{"words": ["Ann", "Lee", "lives", "in", "Oslo", "."], "labels": ["PER", "PER", "O", "O", "LOC", "O"]}',
        # ours
        f'{{{ANN}, "entities": [{{"text": "Ann Lee", "label": "PER", "start": 0, "end": 7, "score": 0.9}},'
        ' {"text": "Oslo", "label": "LOC", "start": 17, "end": 21, "score": 0.8}], "model": {"name": "en"}}',
        # numbers in other dress, an entity twice, white space at its edges
        f'{{{ANN}, "entities": [[0.0, 7.0, "PER"], ["17", "21", "LOC"], [0, 7, "PER"]]}}',
        f'{{{ANN}, "entities": [[0, 8, "PER", "Ann Lee"], [16, 21, "LOC", " Oslo"]]}}',
        # laid out by jq
        f'\ufeff{{\n  {ANN},\n  "spans": [[0, 7, "PER"], [17, 21, "LOC"]]\n}}\n',
    ],
)
@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.json", "corpus.txt"])
def test_what_a_tool_writes_is_read_whatever_the_name(tmp_path, content, name):
    assert read_corpus(write(tmp_path, content, name)) == [NAMES]


@pytest.mark.parametrize(
    "nothing",
    [
        f'{{{ANN}, "_input_hash": 1, "_task_hash": 2, "answer": "accept"}}',  # Prodigy leaves out empty spans,
        f'{{{ANN}, "id": 1, "annotator": 1, "annotation_id": 2, "lead_time": 3.1}}',  # JSON_MIN an empty label
        json.dumps(task([])),
        f'{{{ANN}, "entities": []}}',
        f'["{ANN[9:-1]}", {{"entities": []}}]',
        '{"tokens": ["Ann", "Lee", "lives", "in", "Oslo", "."], "ner_tags": ["O", "O", "O", "O", "O", "O"]}',
    ],
)
def test_a_text_without_entities_is_one(tmp_path, nothing):
    assert read_corpus(write(tmp_path, nothing)) == [NOBODY]


@pytest.mark.parametrize(
    "left_out",
    [
        f'{{{ANN}, "spans": [[0, 7, "PER"]], "answer": "reject"}}',
        f'{{{ANN}, "spans": [], "answer": "ignore"}}',
        json.dumps(task()),
        json.dumps({**task(BOTH), "annotations": [{"result": [], "was_cancelled": True}]}),
    ],
)
def test_a_text_that_nobody_annotated_is_left_out(tmp_path, left_out):
    kept = f'{{{ANN}, "spans": [[0, 7, "PER"], [17, 21, "LOC"]]}}'

    assert numbered_sentences(write(tmp_path, f"{left_out}\n{kept}")) == [(2, NAMES)]
    with pytest.raises(CorpusError, match="got none: all texts are rejected, ignored or not annotated"):
        read_corpus(write(tmp_path, left_out))


def test_the_line_is_that_of_the_text_in_a_list_over_many_lines(tmp_path):
    content = json.dumps([{"text": "Ann", "entities": []}, {"text": "Bob", "entities": []}], indent=1)

    lines = [line for line, _ in numbered_sentences(write(tmp_path, content, "corpus.json"))]

    assert lines == [number for number, line in enumerate(content.split("\n"), 1) if line == " {"]


@pytest.mark.parametrize(
    "content",
    [
        'x"\tO\nAnn\tB-PER\n',
        "[\tB-PER\n{\tO\n",
        "{ O\n} B-PER\n",
        "[ _ O\n[ _ B-PER\n",
        '"\tO\nAnn\tB-PER\n',
        "[]\tO\nAnn\tB-PER\n",
    ],
)
def test_brackets_and_quotes_are_tokens_in_columns(tmp_path, content):
    path = write(tmp_path, content, "corpus.conll")

    (sentence,) = read_corpus(path)

    assert sentence.words == tuple(line.split()[0] for line in content.splitlines())


def test_columns_may_be_named_jsonl(tmp_path):
    assert read_corpus(write(tmp_path, 'a"\tO\n')) == [Sentence(('a"',), ())]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        # doccano
        (f'{{{ANN}, "annotations": [{{"label": 1, "start_offset": 0, "end_offset": 7}}]}}', "expected labels, got num"),
        (f'{{{ANN}, "label": ["news"]}}', 'expected spans with a start, an end and a label, got none of these under "'),
        (f'{{{ANN}, "entities": null}}', "expected a list of entities, got null; write [] if there are none, or leave"),
        (f'{{{ANN}, "label": [[0, 7, "PER"]], "labels": [[0, 7, "ORG"]]}}', 'one list of entities, got "label" and "l'),
        (f'{{{ANN}, "entities": [{{"label": "PER", "start_offset": 0, "end": 7, "start": 1}}]}}', "to have start and"),
        (f'{{{ANN}, "entities": [[0, 70, "PER"]]}}', "expected 0 <= start < end <= 22, got start 0, end 70"),
        (f'{{{ANN}, "entities": [[false, true, "PER"]]}}', "expected an entity to have start and end, whole numbers"),
        (f'{{{ANN}, "entities": [["0", "7.5", "PER"]]}}', "expected an entity to have start and end, whole numbers"),
        (f'{{{ANN}, "entities": [["PER", 0, 7]]}}', "expected an entity to have start and end, whole numbers"),
        (f'{{{ANN}, "entities": [[0, 7, "PER"], [4, 21, "LOC"]]}}', "expected entities that do not overlap, (0, 7) an"),
        (f'{{{ANN}, "entities": [[0, 7, "PER"]], "entities": []}}', "a key stands twice in an object"),
        ('{"data": ["Ann"], "label": []}', 'expected a JSON object with "text", a string'),
        # Prodigy
        (f'{{{ANN}, "spans": [], "answer": "yes"}}', 'expected "answer" to be accept, reject or ignore'),
        (f'{{{ANN}, "spans": [], "answer": ["accept"]}}', 'expected "answer" to be accept, reject or ignore'),
        (f'{{{ANN}, "label": "NEWS", "answer": "accept"}}', "expected spans with a start, an end and a label, got non"),
        (f'{{{ANN}, "options": [], "accept": ["NEWS"], "answer": "accept"}}', "expected spans with a start"),
        (f'{{{ANN}, "spans": [{{"token_start": 0, "token_end": 1, "label": "PER"}}]}}', "to have start and end"),
        (f'{{{ANN}, "spans": [{{"start": 0, "end": 7}}]}}', "expected an entity to have start and end, whole numbers,"),
        # Label Studio
        (json.dumps(task(BOTH, [])), "expected one annotation, got 2 that differ; keep one of them"),
        (json.dumps(task([(0, 7, " ")])), "expected an entity to have start and end, whole numbers, and a label"),
        (json.dumps({**task(BOTH), "data": {"a": "Ann", "b": "Lee"}}), 'expected "data" to have "text", a string, or'),
        (json.dumps({**task(BOTH), "annotations": None}), 'expected "annotations", a list of objects'),
        (json.dumps({**task(BOTH), "annotations": [{"result": None}]}), 'expected "result" of an annotation to be a l'),
        (json.dumps(task(BOTH)).replace('"labels", "from', '"hypertextlabels", "from'), "labels over HTML are not rea"),
        (json.dumps(task(BOTH)).replace('["PER"]', '["PER", "ORG"]'), "expected an entity to have start and end"),
        (json.dumps(task(BOTH)).replace('"end": 7', '"end": 6'), "expected the text of the entity from 0 to 6, got an"),
        # spaCy
        ('["Ann", {"cats": {"NEWS": 1.0}}]', '"annotations", got none of them; write [] if there are no entities'),
        ('["Ann", ["entities", []]]', 'item 1: expected a JSON object with "text", a string'),
        ('["Ann", {"entities": [[0, 3]]}]', "expected an entity to have start and end, whole numbers, and a label"),
        ('["Ann", {"entities": [[0, 3, "PER", "Q1"]]}]', "expected the text of the entity from 0 to 3, got another"),
        ('[{"id": 0, "paragraphs": []}]', "the JSON of spaCy 2 is not read; python -m spacy convert"),
        # Hugging Face
        ('{"tokens": ["Ann", "left"], "ner_tags": [1, 0]}', "expected names of tags, got numbers; give their names in"),
        ('{"tokens": ["Ann", "left"], "ner_tags": ["B-PER"]}', "expected a tag for each of 2 words, got 1"),
        ('{"tokens": ["Ann"], "ner_tags": ["B-PER"], "tags": ["O"]}', 'one list of tags, such as ner_tags, got "ner_t'),
        ('{"tokens": ["Ann"]}', "expected words with one list of tags, such as ner_tags, got none"),
        ('{"tokens": ["Ann", " "], "ner_tags": ["B-PER", "O"]}', "expected words, got white space for one"),
        ('{"tokens": ["Ann"], "ner_tags": [true]}', "expected tags, names or numbers, got true or false"),
        ('{"tokens": ["Ann"], "ner_tags": ["PERSON"]}', "expected O or a tag such as B-LOC, got 'PERSON'"),
        ('{"text": "Ann", "tokens": ["Ann"], "tags": ["O"], "spans": [[0, 3, "PER"]]}', 'got "tags" and "spans"; leav'),
        (f'{{{ANN}, "entities": [{{"entity": "B-PER", "index": 1, "start": 0, "end": 3}}]}}', 'aggregation_strategy="'),
        ('{"text": "Ann Lee", "tokens": ["Ann", "Lee"], "spans": [[0, 2, "PER"]]}', "offsets that count characters"),
        # ours
        ('{"text": "\U0001f600 Ann", "entities": [{"text": "Ann", "start": 3, "end": 5, "label": "PER"}]}', "UTF-16 u"),
        (f'{{{ANN}}}', 'expected "entities" or "spans"'),
        (f'{{{ANN}, "entities": [', "expected a JSON object: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_line_and_cause(tmp_path, content, problem):
    good = '{"tokens": ["Ann"], "ner_tags": ["B-LOC"]}'
    path = write(tmp_path, f"{good}\n\n{content}\n")

    with pytest.raises(CorpusError) as caught:
        read_corpus(path)

    assert str(caught.value).startswith(f"{path}:3")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{\n "text": "Ann",\n "entities": [}\n', ":1: expected a JSON object: "),
        ('[\n {"text": "Ann", "entities": []}\n {"text": "Bob", "entities": []}\n]', ":3: expected a JSON list to go"),
        ('[\n {"text": "Ann", "entities": []},\n {"text": "Bob"}\n]', ':3: expected "entities" or '),
        ('[\n {"text": "Ann", "entities": []},\n {"text": "B', ":3: expected a JSON object: Unterminated string"),
        ("[]", ": expected sentences, got none"),
        ('{"text": "", "entities": []}', ": expected sentences, got none"),
        ("[" * 100_000, ":1: expected a JSON object: "),
        ("9" * 5000, ":1: expected a token and a tag, got 1 column"),
        ("null\n", ":1: expected a token and a tag, got 1 column"),
    ],
)  # fmt: skip
def test_json_that_is_broken_or_empty_is_refused(tmp_path, content, problem):
    with pytest.raises(CorpusError) as caught:
        read_corpus(write(tmp_path, content))

    assert f"corpus.jsonl{problem}" in str(caught.value)


def test_labels_are_mapped_in_every_kind_of_json(tmp_path):
    pairs = (
        '["Ann met Bob.", {"entities": [[0, 3, "person"], [8, 11, "x"]]}]\n{"tokens": ["Ann"], "tags": ["B-person"]}'
    )

    sentences = read_corpus(write(tmp_path, pairs), {"person": "PER", "x": "O"})

    assert [sentence.spans for sentence in sentences] == [(Span(0, 1, "PER"),)] * 2


def test_a_spacy_file_is_read_as_spacy_has_it(tmp_path):
    import spacy

    docs = []
    for text, spans in (("Ann Lee lives in Oslo.", BOTH), ("Ann Lee lives in Oslo.", [])):
        doc = spacy.blank("en")(text)
        doc.set_ents([doc.char_span(start, end, label) for start, end, label in spans])
        docs.append(doc)
    path = tmp_path / "corpus.spacy"
    spacy.tokens.DocBin(docs=docs).to_disk(path)

    assert numbered_sentences(path) == [(1, NAMES), (2, NOBODY)]

    spacy.tokens.DocBin(docs=[spacy.blank("en")("Ann left.")]).to_disk(path)
    with pytest.raises(CorpusError, match=r"corpus\.spacy: text 1: expected entities in doc\.ents, got no tokens"):
        read_corpus(path)

    doc = spacy.blank("en")("Ann left.")
    doc.set_ents([doc[0:1]], missing=[doc[1:2]])  # as spaCy's own conversion leaves what it cannot align
    spacy.tokens.DocBin(docs=[doc]).to_disk(path)
    with pytest.raises(CorpusError, match=r"text 1: expected entities in doc\.ents, got not all tokens annotated"):
        read_corpus(path)

    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CorpusError, match=r"corpus\.spacy: expected a file of spaCy's DocBin: "):
        read_corpus(path)


def test_a_spacy_file_without_spacy_names_the_line_that_installs_it(tmp_path):
    path = tmp_path / "corpus.spacy"
    path.write_bytes(b"x\x9c\xabV*")
    code = "import sys; sys.modules['spacy'] = None; from nerserve.cli import main; sys.exit(main(sys.argv[1:]))"

    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", path], check=False, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 2
    assert "spaCy is needed to read its files, and is not installed: .venv/bin/pip install spacy" in done.stderr
