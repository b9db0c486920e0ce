"""Reading corpora: the usual tag schemes, and errors that name file and line."""

import pytest

from handler.labels import Span
from training.corpora import Sentence, label_set, read_conll, read_label_map, write_conll
from training.errors import CorpusError


def write(folder, text):
    path = folder / "corpus.conll"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-PER I-PER O B-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC")]),
        ("I-PER I-PER O I-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC")]),  # IOB1
        ("I-PER B-PER I-LOC O", [Span(0, 1, "PER"), Span(1, 2, "PER"), Span(2, 3, "LOC")]),  # IOB1, neighbours
        ("B-PER E-PER S-LOC S-LOC", [Span(0, 2, "PER"), Span(2, 3, "LOC"), Span(3, 4, "LOC")]),
        ("B-PER I-PER I-PER E-PER", [Span(0, 4, "PER")]),
        ("U-PER B-LOC L-LOC I-LOC", [Span(0, 1, "PER"), Span(1, 3, "LOC"), Span(3, 4, "LOC")]),  # BILOU
        ("O O O O", []),
    ],
)
def test_the_usual_schemes_are_understood(tmp_path, tags, spans):
    text = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))

    (sentence,) = read_conll(write(tmp_path, text))

    assert sentence == Sentence(("w0", "w1", "w2", "w3"), tuple(spans))


@pytest.mark.parametrize(
    "text",
    [
        "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\nParis NNP I-NP I-LOC\n",
        "EU\tI-ORG\r\nrejects\tO\r\n\r\nParis\tI-LOC\r\n",
        "\ufeffEU I-ORG\nrejects O\n\nParis I-LOC",
    ],
)
def test_columns_line_ends_and_document_marks_may_vary(tmp_path, text):
    assert read_conll(write(tmp_path, text)) == [
        Sentence(("EU", "rejects"), (Span(0, 1, "ORG"),)),
        Sentence(("Paris",), (Span(0, 1, "LOC"),)),
    ]


def test_what_is_written_is_read_again(tmp_path):
    sentences = [Sentence(("a", "b", "c"), (Span(0, 2, "PER"), Span(2, 3, "PER"))), Sentence(("d",), ())]
    for scheme in ("BIO", "IOBES"):
        write_conll(tmp_path / "again.conll", sentences, scheme)

        assert read_conll(tmp_path / "again.conll") == sentences


def test_labels_are_mapped_and_dropped(tmp_path):
    path = write(tmp_path, "Ann\tB-person\nmet\tO\nMonday\tB-time\n")

    (sentence,) = read_conll(path, {"person": "PER", "time": "O"})

    assert sentence.spans == (Span(0, 1, "PER"),)
    assert label_set([sentence]) == ["PER"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\tO\nword\n", "corpus.conll:2: expected a token and a tag, got 1 column"),
        ("\n\na\tX-PER\n", "corpus.conll:3: expected O or a tag such as B-PER, got 'X-PER'"),
        ("a\tB-\n", "corpus.conll:1: expected O or a tag such as B-PER, got 'B-'"),
        ("a\tO\n\nb\tB-nobody\n", "corpus.conll:3: label 'nobody' is not in the label map"),
        ("\n\n", "expected sentences of TOKEN and TAG, got none"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, problem):
    with pytest.raises(CorpusError) as caught:
        read_conll(write(tmp_path, text), {"person": "PER"})

    assert problem in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "corpus.conll"
    with pytest.raises(CorpusError, match=r"corpus\.conll: expected a UTF-8 text file"):
        read_conll(path)
    path.write_bytes(b"caf\xe9 O\n")
    with pytest.raises(CorpusError, match=r"corpus\.conll: expected a UTF-8 text file"):
        read_conll(path)


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', "{", None])
def test_a_label_map_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "map.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(CorpusError, match=r"map\.json: expected a JSON object"):
        read_label_map(path)


def test_a_label_map_is_read(tmp_path):
    (tmp_path / "map.json").write_text('{"person": "PER"}')

    assert read_label_map(tmp_path / "map.json") == {"person": "PER"}
