"""A form is whole when its length is that of its parts, as one of the encoders in use writes them."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from handler.protocol.forms import is_whole

FIELDS = st.lists(st.tuples(st.sampled_from(["text", "labels"]), st.text(st.characters(codec="utf-8"))), max_size=2)

#: Real ones, and quote with what JavaScript's URLSearchParams, encodeURIComponent and PHP leave as it is.
ENCODERS = {
    "urlencode": urlencode,
    "requests": lambda fields: requests.Request("POST", "http://x", data=fields).prepare().body or "",
    "quote": lambda fields: urlencode(fields, quote_via=quote, safe="/"),
    "browser": lambda fields: urlencode(fields, safe="*").replace("~", "%7E"),
    "encodeURIComponent": lambda fields: urlencode(fields, quote_via=quote, safe="!~*'()"),
    "by hand": lambda fields: "&".join(f"{name}={by_hand(value)}" for name, value in fields),
}


def by_hand(value):
    for char in "%&+\r\n":
        value = value.replace(char, quote(char))
    return value


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
@given(fields=FIELDS.filter(lambda fields: len({name for name, _ in fields}) == len(fields) > 0))
def test_what_an_encoder_wrote_is_whole(encode, fields):
    form = encode(fields)
    parts = {name: value.encode() for name, value in parse_qsl(form, keep_blank_values=True)}

    assert parts == {name: value.encode() for name, value in fields}
    assert is_whole(parts, len(form.encode()))


@pytest.mark.parametrize(
    ("form", "left"),
    [
        ("text=AT&T in Rome", "AT"),
        ("text=Kofi Annan & ", "Kofi Annan "),
        ("text=Kofi Annan\nled", "Kofi Annan"),
        ("text=a&text=Kofi Annan", "Kofi Annan"),
        ("text=Müller, Paris (FR)\r\n", "Müller, Paris (FR)"),
        ("text=Rome&", "Rome"),
    ],
)
def test_a_form_of_which_torchserve_dropped_something_is_not(form, left):
    assert not is_whole({"text": left.encode()}, len(form.encode()))
