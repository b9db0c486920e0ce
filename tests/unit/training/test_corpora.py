"""Reading corpora: the usual tag schemes, character spans, and errors that name file and line."""

import json
import re
import unicodedata
from collections import Counter
from itertools import accumulate, cycle, islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.labels import Span
from handler.text.sentences import split_sentences
from training.corpora import (
    Sentence,
    label_set,
    numbered_sentences,
    read_conll,
    read_corpus,
    read_label_map,
    write_conll,
)
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
        ("B-PER M-PER M-PER E-PER", [Span(0, 4, "PER")]),  # BMES
        ("S-LOC I-LOC U-PER I-PER", [Span(i, i + 1, label) for i, label in enumerate(["LOC", "LOC", "PER", "PER"])]),
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
        "EU _  I-ORG \nrejects\t \tO\n-DOCSTART- O\nParis _ I-LOC",
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
        ("word\nword\n", "corpus.conll:1: expected a token and a tag, got 1 column"),
        ("a\tO\nword\n", "corpus.conll:2: expected 2 columns, as in line 1, got 1"),
        ("\n\na\tX-PER\n", "corpus.conll:3: expected O or a tag such as B-PER, got 'X-PER'"),
        ("\u3000\tO\n", "corpus.conll:1: expected a token and a tag, got white space for a token"),
        ("a\tB-\n", "corpus.conll:1: expected O or a tag such as B-PER, got 'B-'"),
        ("a\tO\n\nb\tB-nobody\n", "corpus.conll:3: label 'nobody' is not in the label map"),
        ("a\tO\nb\tB-nobody\n", "corpus.conll:2: label 'nobody' is not in the label map"),
        ("\n\n", "corpus.conll: expected sentences, got none"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, problem):
    with pytest.raises(CorpusError) as caught:
        read_conll(write(tmp_path, text), {"person": "PER"})

    assert problem in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "corpus.conll"
    with pytest.raises(CorpusError, match=r"corpus\.conll: cannot be read"):
        read_conll(path)
    path.write_bytes(b"Ann O\ncaf\xe9 O\n")
    with pytest.raises(CorpusError, match=r"corpus\.conll:2: expected UTF-8, got byte 0xE9; .*iconv -f WINDOWS-1252"):
        read_conll(path)


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": ""}', "{", None])
def test_a_label_map_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "map.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(CorpusError, match=r"map\.json: (expected a JSON object|cannot be read: No such file)"):
        read_label_map(path)


def test_a_label_map_is_read(tmp_path):
    (tmp_path / "map.json").write_text('{"person": "PER"}')

    assert read_label_map(tmp_path / "map.json") == {"person": "PER"}


#: Documents, sentences, tokens and entities of each part, as the task's description gives them (Tjong Kim Sang and
#: De Meulder, 2003, tables 1 and 2); it counts each document's ``-DOCSTART-`` line as a sentence.
CONLL_2003 = {
    "train": (946, 14_987 - 946, 203_621, {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600}),
    "testa": (216, 3466 - 216, 51_362, {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842}),
    "testb": (231, 3684 - 231, 46_435, {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}),
}


def shares(total, num_parts):
    """*Total* as a sum of *num_parts* whole numbers that differ by one at most, the larger ones mixed in evenly."""
    return [(i + 1) * total // num_parts - i * total // num_parts for i in range(num_parts)]


def conll_2003_lines(num_documents, num_sentences, num_tokens, num_entities):
    """Lines of a made-up file in the task's own form, IOB1 in four columns, with exactly these counts.

    Every sentence begins with its entities, one directly behind the other, of
    one to three tokens; so many have the same label as the one before, and a B.
    """
    labels = [label for label, count in num_entities.items() for _ in range(count)]
    labels = iter(labels[::2] + labels[1::2])
    lengths = cycle([1, 3, 1, 2])
    lines = []
    first_sentences = {0, *accumulate(shares(num_sentences, num_documents))}
    sizes = zip(shares(num_tokens, num_sentences), shares(sum(num_entities.values()), num_sentences), strict=True)
    for i, (num_words, num_names) in enumerate(sizes):
        if i in first_sentences:
            lines += ["-DOCSTART- -X- -X- O", ""]
        tags = []
        before = None
        for label in islice(labels, num_names):
            tags += ["B-" + label if label == before else "I-" + label] + ["I-" + label] * (next(lengths) - 1)
            before = label
        tags += ["O"] * (num_words - len(tags))
        lines += [f"w{i} NN I-NP {tag}" for tag in tags] + [""]
    return lines


@pytest.mark.parametrize("part", CONLL_2003)
def test_a_file_like_those_of_conll_2003_gives_the_published_counts(tmp_path, part):
    num_documents, num_sentences, num_tokens, num_entities = CONLL_2003[part]
    lines = conll_2003_lines(num_documents, num_sentences, num_tokens, num_entities)
    assert sum(line.startswith("-DOCSTART-") for line in lines) == num_documents
    assert sum(" B-" in line for line in lines) > num_sentences // 4  # IOB1: only between neighbours of one label

    sentences = read_corpus(write(tmp_path, "\n".join(lines)))

    assert len(sentences) == num_sentences
    assert sum(len(sentence.words) for sentence in sentences) == num_tokens
    assert Counter(span.label for sentence in sentences for span in sentence.spans) == num_entities


def chunk_tags(scheme, span, before):
    """The tags of *span* behind the span *before*, as the scheme's definition has them."""
    inside = [f"I-{span.label}"] * (span.end - span.start)
    if scheme == "IOB1":
        touches = before is not None and before.end == span.start and before.label == span.label
        return [f"B-{span.label}", *inside[1:]] if touches else inside
    if scheme == "BIO":
        return [f"B-{span.label}", *inside[1:]]
    single, last = {"IOBES": "SE", "BILOU": "UL"}[scheme]
    if len(inside) == 1:
        return [f"{single}-{span.label}"]
    return [f"B-{span.label}", *inside[2:], f"{last}-{span.label}"]


words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6)


@st.composite
def annotated_sentences(draw):
    spans, end = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=5)):
        label = draw(st.sampled_from(["PER", "LOC", "creative-work"]))
        spans.append(Span(end + gap, end + gap + length, label))
        end += gap + length
    num_words = end + draw(st.integers(0 if spans else 1, 2))
    return Sentence(tuple(draw(st.lists(words, min_size=num_words, max_size=num_words))), tuple(spans))


@pytest.mark.parametrize("scheme", ["IOB1", "BIO", "IOBES", "BILOU"])
@settings(deadline=None)
@given(sentences=st.lists(annotated_sentences(), min_size=1, max_size=4), separator=st.sampled_from(["\t", " ", "   "]))
def test_spans_written_in_any_scheme_are_read_again(tmp_path_factory, scheme, sentences, separator):
    lines = []
    for sentence in sentences:
        tags = ["O"] * len(sentence.words)
        for before, span in zip([None, *sentence.spans], sentence.spans, strict=False):
            tags[span.start : span.end] = chunk_tags(scheme, span, before)
        lines += [separator.join([word, "_", tag]) for word, tag in zip(sentence.words, tags, strict=True)] + [""]
    path = write(tmp_path_factory.getbasetemp(), "\n".join(lines))

    assert read_corpus(path) == sentences


def write_jsonl(folder, *documents):
    path = folder / "corpus.jsonl"
    lines = [document if isinstance(document, str) else json.dumps(document) for document in documents]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


TEXT = "Ann Lee lives in New York. Bob too."


@pytest.mark.parametrize(
    "annotation",
    [
        {"entities": [
            {"start": 0, "end": 7, "label": "PER", "text": "Ann Lee", "score": 0.9},
            {"start": 17, "end": 25, "label": "LOC"},
            {"start": 27, "end": 30, "label": "PER"},
        ]},
        {"entities": [[27, 30, "PER"], [17, 25, "LOC"], [0, 7, "PER"]], "model": {"name": "en"}},
        {"spans": [
            {"start": 0, "end": 7, "token_start": 0, "token_end": 1, "label": "PER"},
            {"start": 17, "end": 25, "label": "LOC"},
            {"start": 27, "end": 30, "label": "PER"},
        ], "answer": "accept"},
        {"id": 1, "label": [[0, 7, "PER"], [17, 25, "LOC"], [27, 30, "PER"]], "Comments": []},
        {"labels": [[0, 7, "PER"], [17, 25, "LOC"], [27, 30, "PER"]]},
        {"labels": [[0, 8, "PER"], [16, 25, "LOC"], [26, 31, "PER"]]},  # with the spaces around
    ],
)  # fmt: skip
def test_character_spans_are_read_in_the_shapes_that_tools_export(tmp_path, annotation):
    path = write_jsonl(tmp_path, {"text": TEXT, **annotation})

    assert read_corpus(path) == [
        Sentence(("Ann", "Lee", "lives", "in", "New", "York", "."), (Span(0, 2, "PER"), Span(4, 6, "LOC"))),
        Sentence(("Bob", "too", "."), (Span(0, 1, "PER"),)),
    ]


def test_the_lines_of_a_jsonl_file_may_be_empty_or_rejected_and_have_any_end(tmp_path):
    path = tmp_path / "corpus.JSONL"
    rejected = json.dumps({"text": "Ann", "spans": [], "answer": "reject"})
    kept = json.dumps({"text": "Ann\u2028left", "entities": []}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{rejected}\r\n\r\n{kept}".encode())

    assert numbered_sentences(path) == [(3, Sentence(("Ann",), ())), (3, Sentence(("left",), ()))]


def test_sentences_know_their_line(tmp_path):
    conll = write(tmp_path, "-DOCSTART- O\n\na O\nb O\n\n\nc O\n")
    jsonl = write_jsonl(tmp_path, {"text": TEXT, "entities": []}, {"text": "So.", "entities": []})

    assert [line for line, _ in numbered_sentences(conll)] == [3, 7]
    assert [line for line, _ in numbered_sentences(jsonl)] == [1, 1, 2]


def test_no_sentence_ends_within_an_entity(tmp_path, caplog):
    text = "We saw Who? What? Where? on Monday. Good."
    path = write_jsonl(tmp_path, {"text": text, "entities": [[7, 24, "MISC"]]})

    crossed, last = read_corpus(path)

    assert " ".join(crossed.words) == "We saw Who ? What ? Where ? on Monday ."
    assert crossed.spans == (Span(2, 8, "MISC"),)
    assert last.words == ("Good", ".")
    assert "1 of 1 entities cannot be found, the first in line 1" in caplog.text


def test_a_word_is_split_where_an_entity_begins_or_ends_and_that_is_logged(tmp_path, caplog):
    path = write_jsonl(
        tmp_path,
        {"text": "Plain Rome.", "entities": [[6, 10, "LOC"]]},
        {"text": "The U.S.-led anti-Nato pact.", "entities": [[4, 8, "LOC"], [18, 22, "ORG"]]},
    )

    _, sentence = read_corpus(path)

    assert sentence.words == ("The", "U.S.", "-led", "anti-", "Nato", "pact", ".")
    assert sentence.spans == (Span(1, 2, "LOC"), Span(4, 5, "ORG"))
    assert "2 of 3 entities cannot be found, the first in line 2" in caplog.text


def test_a_character_reference_is_read_as_the_server_reads_it(tmp_path):
    path = write_jsonl(tmp_path, {"text": "AT&amp;T met Ann&nbsp;Lee.", "entities": [[0, 8, "ORG"], [13, 25, "PER"]]})

    (sentence,) = read_corpus(path)

    assert sentence.words == ("AT&T", "met", "Ann", "Lee", ".")
    assert sentence.spans == ((0, 1, "ORG"), (2, 4, "PER"))


def test_a_dropped_entity_may_overlap_others_and_splits_nothing(tmp_path, caplog):
    document = {"text": "Ann Lee. Bob", "entities": [[0, 7, "name"], [0, 3, "first"], [1, 10, "odd"]]}

    sentences = read_corpus(write_jsonl(tmp_path, document), {"name": "PER", "first": "O", "odd": "O"})

    assert sentences == [Sentence(("Ann", "Lee", "."), (Span(0, 2, "PER"),)), Sentence(("Bob",), ())]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "expected a JSON object: "),
        ("9" * 5000, "expected a JSON object: "),
        ('["Ann", []]', 'item 1: expected a JSON object with "text", a string'),
        ('{"entities": []}', 'expected a JSON object with "text", a string'),
        ('{"text": 1, "entities": []}', 'expected a JSON object with "text", a string'),
        ('{"text": "Ann"}', 'or "labels" or "annotations", got none of them; write [] if there are no entities'),
        ('{"text": "Ann", "spans": [], "labels": []}', 'expected one list of entities, got "spans" and "labels"'),
        ('{"text": "Ann", "label": "PER"}', 'a start, an end and a label, got none of these under "label"'),
        (
            '{"text": "Ann", "entities": [[0, 3]]}',
            "expected an entity to have start and end, whole numbers, and a label",
        ),
        ('{"text": "Ann", "entities": [[0, 2.5, "PER"]]}', "expected an entity to have start and end, whole numbers"),
        ('{"text": "Ann", "entities": [[0, 3, ""]]}', "expected an entity to have start and end, whole numbers"),
        ('{"text": "Ann", "entities": ["Ann"]}', 'a start, an end and a label, got none of these under "entities"'),
        ('{"text": "Ann", "entities": [{"start": 0, "label": "PER"}]}', "expected an entity to have start and end"),
        ('{"text": "Ann", "entities": [[0, 4, "PER"]]}', "expected 0 <= start < end <= 3, got start 0, end 4"),
        ('{"text": "Ann", "entities": [[-1, 3, "PER"]]}', "expected 0 <= start < end <= 3, got start -1, end 3"),
        ('{"text": "Ann", "entities": [[2, 2, "PER"]]}', "expected 0 <= start < end <= 3, got start 2, end 2"),
        ('{"text": "Ann ", "entities": [[3, 4, "PER"]]}', "expected an entity to hold a word, (3, 4) holds none"),
        (
            '{"text": "Ann Lee", "entities": [[2, 7, "PER"], [0, 3, "PER"]]}',
            "expected entities that do not overlap, (0, 3) and (2, 7) do",
        ),
        ('{"text": "Ann", "entities": [[0, 3, "nobody"]]}', "label 'nobody' is not in the label map"),
    ],
)
def test_a_json_line_that_cannot_be_read_is_named(tmp_path, line, problem):
    path = write_jsonl(tmp_path, {"text": "Bob", "entities": [[0, 3, "PER"]]}, line)

    with pytest.raises(CorpusError) as caught:
        read_corpus(path, {"PER": "PER"})

    assert str(caught.value).startswith(f"{path}:2")
    assert problem in str(caught.value)


def visible(text):
    """*Text* without what the tokeniser may leave out, and with plain marks for those that it reads as such."""
    text = text.translate(dict.fromkeys(map(ord, "`‘′´＇ʹʼ"), "'"))
    text = re.sub("[²³¹¼-¾⁰-⁹ⁱⁿ⅐-⅟↉①-⒛⓪-⓿❶-➓ʰ-ʸᴬ-ᵪᶛ-ᶿ]+", "*", text)
    return "".join(char for char in text if not char.isspace() and unicodedata.category(char) not in {"Cc", "Cf"})


@st.composite
def annotated_texts(draw):
    """A text of any characters, and spans over it that do not overlap and hold something visible each."""
    parts = draw(
        st.lists(
            st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" .-'’Aa1\n")), max_size=12), max_size=9
        )
    )
    entities, end = [], 0
    for i, part in enumerate(parts):
        start, end = end, end + len(part)
        if i % 2 and visible(part):
            entities.append((start, end, draw(st.sampled_from(["PER", "LOC"]))))
    return "".join(parts), entities


@settings(deadline=None)
@given(st.lists(annotated_texts(), max_size=4))
def test_character_spans_come_back_as_the_same_slices(tmp_path_factory, texts):
    texts.append(("Ann", []))  # a file without any sentence is an error
    documents = [{"text": text, "entities": entities} for text, entities in texts]

    sentences = read_corpus(write_jsonl(tmp_path_factory.getbasetemp(), *documents))

    assert "".join(visible("".join(sentence.words)) for sentence in sentences) == "".join(
        visible(text) for text, _ in texts
    )
    assert [
        (visible("".join(sentence.words[start:end])), label)
        for sentence in sentences
        for start, end, label in sentence.spans
    ] == [(visible(text[start:end]), label) for text, entities in texts for start, end, label in entities]
    assert [
        ["".join(sentence.words[start:end]) for start, end in pairwise(edges)]
        for sentence in sentences
        for edges in sentence.served
    ] == [tokens.words for text, _ in texts for tokens in split_sentences(text)]


def test_columns_lose_the_spaces_around_them(tmp_path):
    (sentence,) = read_conll(write(tmp_path, "Ann \tNNP\tB-PER \n left\tVBD\tO\n"))

    assert sentence == Sentence(("Ann", "left"), (Span(0, 1, "PER"),))


def test_words_that_the_server_would_part_are_pointed_out_where_they_are_many(tmp_path, caplog):
    tweets = "".join(f"w{i}\tO\n" for i in range(30)) + "and/or\tO\n"
    read_conll(write(tmp_path, tweets))
    assert caplog.text == ""

    read_conll(write(tmp_path, "rejects\tO\n\nEU NNP I-NP\tI-ORG\nrejects\tO\n"))

    assert "the server parts 50% of the distinct words, the first in line 3" in caplog.text
