"""Both tiers understand a Content-Type's charset alike: worker and site take the same, and refuse the same."""

import pytest

from contract.errors import UnsupportedMediaTypeError
from contract.limits import RequestLimits
from handler.protocol.headers import RequestHeaders
from handler.protocol.requests import Refusal, Request, read_request
from web.body import check_encoding, media_type


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";",
        "; ",
        "; charset=utf-8",
        ";charset=UTF-8",
        "; Charset=Utf-8",
        "; charset=utf8;",
        '; charset="utf-8"',
        "; charset=us-ascii",
        "; charset=ascii",
        "; charset=utf-8; format=flowed",
        "; charset=utf-8 ;format=flowed",
        "; format=flowed; charset=utf-8",
        "; charset=utf-8;profile=x",
        "; charset=",
        "; charsets=latin-1",
        "; x-charset=latin-1",
        '; profile="a; charset=latin-1"',
        "; charset=latin-1; charset=utf-8",
    ],
)
@pytest.mark.parametrize("name", ["text/plain", "application/json"])
def test_what_is_utf8_is_taken_whatever_else_the_type_says(name, parameters):
    headers = RequestHeaders(content_type=f"{name}{parameters}")
    environ = {"CONTENT_TYPE": headers.content_type}

    request = read_request({"body": b'{"text": "Oslo"}'}, headers, RequestLimits(), ("LOC",))

    assert isinstance(request, Request)
    assert request.texts == [{"text/plain": '{"text": "Oslo"}', "application/json": "Oslo"}[name]]
    assert media_type(environ) == name
    check_encoding(environ)


@pytest.mark.parametrize(
    "parameters",
    [
        "; charset=latin-1",
        "; Charset=latin-1",
        ";CHARSET=ISO-8859-1;",
        '; format=flowed; charset="latin-1"',
        "; charset=utf-16; format=flowed",
        "; charset=utf-8; charset=latin-1",
        '; charset=""',
        "; charset='utf-8'",
    ],
)
@pytest.mark.parametrize("name", ["text/plain", "application/json"])
def test_another_charset_is_refused_however_it_is_written(name, parameters):
    headers = RequestHeaders(content_type=f"{name}{parameters}")

    refusal = read_request({"body": b'{"text": "Oslo"}'}, headers, RequestLimits(), ("LOC",))

    assert isinstance(refusal, Refusal)
    assert refusal.error.code == "unsupported_media_type"
    with pytest.raises(UnsupportedMediaTypeError):
        check_encoding({"CONTENT_TYPE": headers.content_type})
