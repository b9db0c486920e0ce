import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.limits import RequestLimits
from web.stream.lines import BadLine, Line, LineSplitter, read_line
from web.upstream.reply import RowError

EXPECTED = 'Expected a JSON object with "text" (a string), perhaps with "id" (a string or a number), got '


def read(raw, max_chars=10):
    return read_line(1, raw, RequestLimits(max_chars))


@given(st.lists(st.binary(max_size=12)), st.binary(max_size=12), st.lists(st.integers(0, 200)))
def test_lines_are_the_same_however_they_arrive(lines, last, cuts):
    whole = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines) + last.replace(b"\n", b"")
    splitter = LineSplitter(max_bytes=8)

    found = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
        found += splitter.feed(whole[start:end])
    found += splitter.end()

    *ends, rest = whole.split(b"\n")
    expected = [line if len(line) <= 8 else None for line in [*ends, *([rest] if rest else [])]]
    assert found == list(enumerate(expected, 1))


def test_a_line_without_end_is_not_kept():
    splitter = LineSplitter(max_bytes=1000)

    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []

    assert len(splitter._pieces) <= 1000
    assert list(splitter.feed(b"\nab\n")) == [(1, None), (2, b"ab")]


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ({"text": "Oslo"}, {}),
        ({"text": "", "id": "a"}, {"id": "a"}),
        ({"id": 7, "text": "x"}, {"id": 7}),
        ({"id": -1.5, "text": "\ud800"}, {"id": -1.5}),
        ({"id": "", "text": "x" * 10}, {"id": ""}),
    ],
)
def test_a_line_has_a_text_and_perhaps_an_id(body, head):
    assert read(json.dumps(body).encode()) == Line({"line": 1, **head}, body["text"])


@pytest.mark.parametrize("raw", [b"", b" ", b"\t\r", b"\r"])
def test_blank_lines_are_nothing(raw):
    assert read(raw) is None


@pytest.mark.parametrize(
    ("raw", "head", "code", "message"),
    [
        (None, {}, "request_too_large", "The line is too long: the limit is 1,048,576 bytes."),
        (b"{", {}, "malformed_request", EXPECTED + "invalid JSON: Expecting property name enclosed in double quotes"),
        (b"[1]", {}, "malformed_request", EXPECTED + "a list."),
        (b'"Oslo"', {}, "malformed_request", EXPECTED + "a string."),
        (b"{}", {}, "malformed_request", EXPECTED + "no text."),
        (b'{"id": 1}', {"id": 1}, "malformed_request", EXPECTED + "no text."),
        (b'{"text": "x", "id": 1, "model": "en"}', {"id": 1}, "malformed_request", EXPECTED + "another key."),
        (b'{"text": "x", "text": "y"}', {}, "malformed_request", EXPECTED + "a key twice."),
        (b'{"text": NaN}', {}, "malformed_request", EXPECTED + "NaN, which JSON has not."),
        (b'{"text": null, "id": "a"}', {"id": "a"}, "malformed_request", 'Expected a string for "text", got null.'),
        (b'{"text": "x", "id": null}', {}, "malformed_request", 'Expected a string or a number for "id", got null.'),
        (b'{"text": "x", "id": true}', {}, "malformed_request", 'Expected a string or a number for "id", got a bool'),
        (b'{"text": "x", "id": [1]}', {}, "malformed_request", 'Expected a string or a number for "id", got a list.'),
        (
            b'{"text": "x", "id": 1e999}',
            {},
            "malformed_request",
            EXPECTED + "a number that is too large.",
        ),
        (b'{"text": "\xff"}', {}, "malformed_request", "Expected UTF-8, got something else at byte 10."),
        (b'{"text": "01234567890", "id": 2}', {"id": 2}, "text_too_long", "The text is too long: it has 11 characters"),
    ],
)
def test_a_line_that_is_wrong_says_why_and_keeps_its_id(raw, head, code, message):
    line = read(raw)

    assert isinstance(line, BadLine)
    assert line.head == {"line": 1, **head}
    assert isinstance(line.error, RowError)
    assert line.error.code == code
    assert line.error.message.startswith(message)
