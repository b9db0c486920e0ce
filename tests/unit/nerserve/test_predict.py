"""``nerserve predict`` with a model in this process."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest

import nerserve
from nerserve.cli import main
from training.corpora import read_corpus

TEXT = "Obama met Apple in paris. The Obama, Apple 1984!"


@pytest.fixture
def predict(tiny_bundle, monkeypatch, capfd, tmp_path):
    """``predict(*arguments, stdin=b"...")`` in an empty folder: status, what is printed, and on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b"", model=tiny_bundle):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main(["predict", *map(str, arguments), *(("--model", str(model)) if model else ())])
        except SystemExit as stopped:
            status = stopped.code
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def entities(tiny_bundle):
    return nerserve.load(tiny_bundle).predict(TEXT)


def documents(printed):
    return [json.loads(line) for line in printed.splitlines()]


def test_a_text_is_a_table_with_label_and_score(predict, entities):
    status, printed, _ = predict(TEXT)

    head, *rows = [line.split() for line in printed.splitlines()]
    assert status == 0
    assert head == ["TEXT", "LABEL", "SCORE", "START", "END"]
    assert [row[-4:] for row in rows] == [
        [one.label, f"{one.score:.3f}", str(one.start), str(one.end)] for one in entities
    ]


@pytest.mark.parametrize("option", ["--json", "--format=jsonl"])
def test_json_lines_are_the_api_s_replies(predict, entities, tiny_bundle, option):
    model = nerserve.load(tiny_bundle)

    status, printed, _ = predict(TEXT, "", option)

    source = {"name": "tiny", "version": "1.0", "digest": model.digest}
    assert status == 0
    assert documents(printed) == [
        {"model": source, "entities": [one._asdict() for one in entities]},
        {"model": source, "entities": []},
    ]


def test_conll_is_what_the_training_reads_back_as_the_same_entities(predict, entities, tmp_path):
    status, printed, _ = predict(TEXT, TEXT, "--format", "conll")

    (tmp_path / "x.conll").write_text(printed)
    sentences = read_corpus(tmp_path / "x.conll")
    spans = [(" ".join(one.words[a:b]), label) for one in sentences for a, b, label in one.spans]
    read = [(text.replace(" ,", ","), label) for text, label in spans]
    assert status == 0
    assert [(text.replace(" ", ""), label) for text, label in read] == [
        (one.text.replace(" ", ""), one.label) for one in [*entities, *entities]
    ]


def test_displacy_has_the_keys_of_its_manual_form(predict, entities):
    status, printed, _ = predict(TEXT, "", "--format", "displacy")

    first, second = json.loads(printed)
    assert status == 0
    assert first == {
        "text": TEXT,
        "ents": [{"start": one.start, "end": one.end, "label": one.label} for one in entities],
        "title": None,
    }
    assert second == {"text": "", "ents": [], "title": None}


def test_a_file_a_pipe_and_an_argument_are_the_same_text(predict, tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    (tmp_path / "a text").write_text(TEXT)

    _, expected, _ = predict(TEXT, "--json")

    assert expected
    assert predict("notes.txt", "--json")[1] == expected
    assert predict("a text", "--json")[1] == expected
    assert predict("--json", stdin=TEXT.encode())[1] == expected
    assert predict("-", "--json", stdin=TEXT.encode())[1] == expected
    assert predict("-", "notes.txt", TEXT, "--json", stdin=TEXT.encode())[1] == expected * 3


def test_lines_are_texts_and_each_has_its_answer(predict, tmp_path):
    lines = [TEXT, "", "the Apple", "\u2028", TEXT * 3]
    (tmp_path / "lines").write_bytes("\r\n".join(lines).encode())

    together = predict("lines", "--lines", "--json")[1]

    assert together == "".join(predict(line, "--json")[1] for line in lines)
    assert predict("--lines", "--json", stdin="\n".join(lines).encode())[1] == together


def test_many_texts_are_answered_as_each_alone(predict):
    lines = [f"{TEXT} {number}" for number in range(100)]

    printed = predict("--lines", "--json", stdin="\n".join(lines).encode())[1]

    assert printed.splitlines()[77] + "\n" == predict(lines[77], "--json")[1]
    assert len(documents(printed)) == 100


def test_a_line_is_answered_while_the_next_is_not_sent_yet(tiny_bundle):
    command = [sys.executable, "-m", "nerserve.cli", "predict", "--lines", "--json", "--model", tiny_bundle]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in (b"Obama\n", b"Apple\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["model"]["name"] == "tiny"
        process.stdin.close()

    assert process.returncode == 0


@pytest.mark.parametrize("length", [1 << 16, (1 << 16) - 1, (1 << 16) + 1, 1 << 17])
def test_a_line_may_end_anywhere_in_what_is_read_at_once(predict, monkeypatch, length):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", "1000000")
    lines = ["a " * (length // 2) + "b" * (length % 2), "Obama", "", "x" * 70_000, "Apple"]

    printed = predict("--lines", "--json", stdin="\n".join(lines).encode())[1]

    assert documents(printed)[1::3] == documents(predict("Obama", "Apple", "--json")[1])
    assert len(documents(printed)) == 5


def test_labels_and_threshold_choose(predict, entities):
    assert {one.label for one in entities} == {"LOC", "PER"}

    (found,) = documents(predict(TEXT, "--json", "--labels", "PER", "--threshold", "0.3")[1])

    assert found["entities"] == [one._asdict() for one in entities if one.label == "PER" and one.score >= 0.3]


def test_a_bad_text_has_an_error_and_the_others_are_answered(predict, monkeypatch):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", "20")

    status, printed, errors = predict("--lines", "--json", stdin=b"Obama\n" + b"x" * 21 + b"\n\xff\nApple")

    codes = [one.get("error", {}).get("code") for one in documents(printed)]
    assert status == 2
    assert codes == [None, "text_too_long", "malformed_request", None]
    assert errors == (
        "nerserve: <stdin>:2: The text is too long: it has 21 characters, the limit is 20.\n"
        "nerserve: <stdin>:3: Expected UTF-8, got something else at byte 0.\n"
    )


def test_one_bad_text_has_its_error_once(predict):
    status, printed, errors = predict(stdin="Obama".encode("utf-16"))

    assert (status, printed) == (2, "")
    assert errors == "nerserve: <stdin>: Expected UTF-8, got UTF-16.\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["notes.txt"], "notes.txt does not exist"),
        (["Obama", "data/Notes.MD"], "data/Notes.MD does not exist"),
        (["./notes"], "./notes does not exist"),
        (["."], ". is a folder"),
        (["a\udcff"], "expected UTF-8 in the arguments"),
        (["x", "--labels", "FOO"], "--labels: expected some of LOC, PER, got 'FOO'"),
        (["x", "--threshold", "1.5"], "--threshold: expected a share from 0 to 1, got '1.5'"),
        (["x", "--format", "xml"], "--format: expected one of table, jsonl, conll, displacy, got 'xml'"),
        (["x", "--url", "127.0.0.1:8000"], "--url: expected http(s)://HOST[:PORT], got '127.0.0.1:8000'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_and_tags_nothing(predict, arguments, problem):
    status, printed, errors = predict(*arguments)

    assert status == 2
    assert printed == ""
    assert errors.startswith(f"nerserve: {problem}")


@pytest.mark.parametrize("text", ["U.S.", "AT&T/Nokia", "Please read README.md", "x" * 5000])
def test_a_text_is_not_taken_for_a_file(predict, text):
    assert predict(text)[0] == 0


def test_a_model_that_is_not_there_is_named(predict):
    status, _, errors = predict("x", model=None)

    assert status == 5
    assert errors == "nerserve: models/en does not exist; expected the folder of a bundle or an archive (.mar)\n"


def test_nothing_in_a_text_reaches_the_terminal_as_a_command(predict):
    _, printed, _ = predict("\x1b[31mObama\x1b[0m Apple\x07 paris", "\x1b]0;x\x07")

    assert printed
    assert not {"\x1b", "\x07"} & set(printed)


def test_joiners_within_a_word_are_printed_as_they_are(predict):
    text = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"

    assert f"{text}\n" in predict(text, "x")[1]


def test_without_a_text_at_a_terminal_it_says_what_it_wants(tiny_bundle):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nerserve.cli", "predict", "--model", tiny_bundle]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False, timeout=120)
    os.close(theirs)
    os.close(ours)

    assert done.returncode == 2
    assert done.stderr.startswith("nerserve: expected a text or a file: nerserve predict TEXT")


@pytest.mark.parametrize(("text", "status"), [("Obama", 0), ("", 2)])
def test_a_closed_standard_input_is_none(tiny_bundle, text, status):
    command = f"exec '{sys.executable}' -m nerserve.cli predict --model '{tiny_bundle}' {text} <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == status
    assert "Traceback" not in done.stderr
