"""NDJSON: bytes to lines, lines to texts, and those to groups; a malformed line does not affect the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

from contract.bodies import check_string, decode
from contract.errors import MalformedRequestError, RequestError, RequestTooLargeError
from contract.limits import RequestLimits
from contract.strict_json import kind, parse_json
from web.off_loop import off_loop
from web.upstream.reply import RowError

MAX_GROUP_LINES: Final = 32
MAX_GROUP_CHARS: Final = 8_000
"""The most that one request of a stream holds: little, so that other requests do not wait for it long."""

_EXPECTED: Final = 'Expected a JSON object with "text" (a string), perhaps with "id" (a string or a number)'
_BLANK: Final = b" \t\r"


class Line(NamedTuple):
    """A well-formed line; ``head`` is the beginning of its answer: its number, from 1, and its id if it has one."""

    head: dict[str, Any]
    text: str


class BadLine(NamedTuple):
    """A line that is not sent to the model, and why."""

    head: dict[str, Any]
    error: RowError


class LineSplitter:
    r"""Cuts a stream at its newlines and holds at most one line of it.

    ``num_lines`` is the number of lines so far.

    >>> splitter = LineSplitter(max_bytes=4)
    >>> list(splitter.feed(b"ab\n\nabcde")), list(splitter.feed(b"fgh\ni")), list(splitter.end())
    ([(1, b'ab'), (2, b'')], [(3, None)], [(4, b'i')])
    """

    def __init__(self, max_bytes: int) -> None:
        """A line of more than *max_bytes*, without its newline, is dropped."""
        self._max_bytes = max_bytes
        self.num_lines = 0
        self._pieces = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """The lines that end in *chunk* with their numbers; None for one that is too long."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            yield self._line()
        self._add(rest)

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, if it has no newline."""
        if self._pieces or self._is_too_long:
            yield self._line()

    def _add(self, piece: bytes) -> None:
        if self._is_too_long or len(self._pieces) + len(piece) > self._max_bytes:
            self._is_too_long = True
            self._pieces.clear()
        else:
            self._pieces += piece

    def _line(self) -> tuple[int, bytes | None]:
        self.num_lines += 1
        line = None if self._is_too_long else bytes(self._pieces)
        self._pieces.clear()
        self._is_too_long = False
        return self.num_lines, line


def read_line(number: int, raw: bytes | None, limits: RequestLimits) -> Line | BadLine | None:
    r"""The line's text or its error, None if it is blank; *raw* is None if it had too many bytes.

    >>> read_line(7, b'{"text": "Oslo", "id": "a"}\r', RequestLimits())
    Line(head={'line': 7, 'id': 'a'}, text='Oslo')
    """
    head: dict[str, Any] = {"line": number}
    if raw is None:
        message = f"The line is too long: the limit is {limits.request_bytes:,} bytes."
        return BadLine(head, RowError(RequestTooLargeError.code, message))
    if not raw.strip(_BLANK):
        return None
    try:
        body = parse_json(decode(raw), _EXPECTED)
        if not isinstance(body, dict):
            raise MalformedRequestError(f"{_EXPECTED}, got {kind(body)}.")
        if "id" in body:
            if isinstance(body["id"], bool) or not isinstance(body["id"], str | int | float):
                raise MalformedRequestError(f'Expected a string or a number for "id", got {kind(body["id"])}.')
            head["id"] = body["id"]
        if "text" not in body:
            raise MalformedRequestError(f"{_EXPECTED}, got no text.")
        if body.keys() - {"text", "id"}:
            raise MalformedRequestError(f"{_EXPECTED}, got another key.")
        text = check_string(body["text"], "text")
        limits.check_text(text)
    except RequestError as error:
        return BadLine(head, RowError(error.code, str(error)))
    return Line(head, text)


def read_groups(
    splitter: LineSplitter, chunks: Iterable[bytes], limits: RequestLimits
) -> Iterator[list[Line | BadLine]]:
    """The lines of *chunks* in groups, each for one request to the model.

    A group ends when it is large enough or with its chunk, so that a client that waits for each answer gets it.
    """
    max_chars = min(MAX_GROUP_CHARS, limits.max_chars)
    group: list[Line | BadLine] = []
    num_chars = 0
    for lines in chain(map(splitter.feed, chunks), [splitter.end()]):
        for number, raw in lines:
            line = off_loop(read_line, number, raw, limits, size=len(raw or b""))
            if line is None:
                continue
            line_chars = len(line.text) if isinstance(line, Line) else 0
            if len(group) == MAX_GROUP_LINES or (group and num_chars + line_chars > max_chars):
                yield group
                group, num_chars = [], 0
            group.append(line)
            num_chars += line_chars
        if group:
            yield group
            group, num_chars = [], 0
