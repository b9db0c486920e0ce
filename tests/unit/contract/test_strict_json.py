"""What Python's reader takes beyond RFC 8259 is refused, and messages quote nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import MalformedRequestError
from contract.strict_json import Encoder, parse_json, quoted, to_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_the_standard_has_is_read_as_python_reads_it(value):
    text = json.dumps(value)

    assert parse_json(text, "Expected JSON") == json.loads(text)
    assert json.loads(to_json(value)) == value


#: What readers of lines break at, in Python, Java, JavaScript and C; and what UTF-8 has not.
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
AWKWARD = st.text(st.characters() | st.sampled_from(BREAKS + '\ud800\udfff\x00\x7f"\\é😀'))


@given(AWKWARD)
def test_a_string_is_quoted_as_any_value(text):
    assert quoted(text) == to_json(text)


@given(AWKWARD)
def test_what_is_written_is_one_line_of_utf8_and_reads_back(text):
    line = to_json({text: [text]})

    assert json.loads(line.encode("utf-8")) == {text: [text]}
    assert line.splitlines() == [line]


@given(st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs",), exclude_characters=BREAKS)))
def test_all_else_is_written_as_it_is(text):
    assert quoted(text) == json.dumps(text, ensure_ascii=False)
    assert Encoder().encode([text]) == json.dumps([text], ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"secret": 1, "secret": 2}', "Expected JSON, got a key twice."),
        ('{"a": {"secret": 1, "secret": 2}}', "Expected JSON, got a key twice."),
        ("NaN", "Expected JSON, got NaN, which JSON has not."),
        ("[-Infinity]", "Expected JSON, got -Infinity, which JSON has not."),
        ("1e400", "Expected JSON, got a number that is too large."),
        ("1" * 5_000, "Expected JSON, got JSON that cannot be read."),
        ("[" * 100_000, "Expected JSON, got JSON that cannot be read."),
        ("\ufeff{}", "Expected JSON, got invalid JSON: Unexpected UTF-8 BOM (decode using utf-8-sig) at character 0."),
        (
            "{secret}",
            "Expected JSON, got invalid JSON: Expecting property name enclosed in double quotes at character 1.",
        ),
        ("", "Expected JSON, got invalid JSON: Expecting value at character 0."),
    ],
    ids=lambda value: value[:30],
)
def test_what_it_has_not_is_refused(text, message):
    with pytest.raises(MalformedRequestError) as caught:
        parse_json(text, "Expected JSON")

    assert str(caught.value) == message
    assert "secret" not in message
