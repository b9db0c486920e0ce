"""The texts that ``nerserve predict`` is asked about: arguments, files, standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from contract.bodies import decode
from contract.errors import MalformedRequestError, RequestError
from contract.exit_status import ExitStatus, NerserveError

_BOM = b"\xef\xbb\xbf"

#: Bytes that are read at once.
_BLOCK = 1 << 16

#: What a file's name ends in, where no such file is there.
_SUFFIXES = frozenset(
    ".txt .text .md .rst .log .csv .tsv .json .jsonl .ndjson .conll .html .xml .pdf .doc .docx .odt .gz .zip".split()
)


class InputError(NerserveError):
    """An argument is neither a text nor a file that can be read."""

    exit_status = ExitStatus.UNUSABLE


class Input(NamedTuple):
    """A text, or why there is none; ``name`` says where it comes from, and is empty for an argument."""

    name: str
    text: str
    error: RequestError | None = None


def check_arguments(arguments: Sequence[str], *, has_stdin: bool) -> None:
    """Raise InputError for what is no text and no file, before a model is loaded."""
    if not arguments and not has_stdin:
        raise InputError("expected a text or a file: nerserve predict TEXT, nerserve predict FILE, or a pipe")
    for argument in arguments:
        if any("\ud800" <= char <= "\udfff" for char in argument):
            raise InputError("expected UTF-8 in the arguments, got something else")
        if os.path.isdir(argument):  # noqa: PTH112  (a Path raises for a text that is longer than names may be)
            raise InputError(f"{argument} is a folder; expected a text or a file")
        if not _is_there(argument) and looks_like_a_file(argument):
            raise InputError(f"{argument} does not exist; a text that looks like a file's name is taken from a pipe")


def looks_like_a_file(argument: str) -> bool:
    """Whether *argument* is a file's name rather than a text.

    >>> [looks_like_a_file(name) for name in ("notes.txt", "./notes", "/tmp/x", "U.S.", "AT&T/BT", "Read notes.txt")]
    [True, True, True, False, False, False]
    """
    if any(char.isspace() for char in argument):
        return False
    suffix = os.path.splitext(argument)[1]  # noqa: PTH122
    return argument.startswith(("./", "../", "/", "~/")) or suffix.lower() in _SUFFIXES


def _is_there(argument: str) -> bool:
    return os.path.exists(argument)  # noqa: PTH110  (as above)


def read_inputs(arguments: Sequence[str], stdin: BinaryIO, *, has_lines: bool) -> Iterator[Input | None]:
    """The texts that *arguments* name: ``-`` and no argument are *stdin*, a file is read, all else is a text.

    A file holds one text, or with *has_lines* one on each line.  None comes where no more can be read at once.
    """
    for argument in arguments or ["-"]:
        if argument == "-":
            yield from _texts("<stdin>", stdin, has_lines=has_lines)
        elif _is_there(argument):
            try:
                with Path(argument).open("rb") as file:
                    yield from _texts(argument, file, has_lines=has_lines)
            except OSError as error:
                message = f"Expected a file that can be read: {error.strerror or error}."
                yield Input(argument, "", MalformedRequestError(message))
        else:
            yield Input("", argument)


def _texts(name: str, file: BinaryIO, *, has_lines: bool) -> Iterator[Input | None]:
    if not has_lines:
        yield _decoded(name, file.read().removeprefix(_BOM))
        return
    number = 0
    for line in _lines(file):
        if line is None:
            yield None
            continue
        number += 1
        yield _decoded(f"{name}:{number}", (line.removeprefix(_BOM) if number == 1 else line).removesuffix(b"\r"))


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    r"""The lines of *file* as they come, without their ends; None once all that was there is read.

    >>> import io
    >>> list(_lines(io.BytesIO(b"a\nb")))
    [b'a', None, b'b']
    """
    started: list[bytes] = []
    while block := file.read1(_BLOCK):  # type: ignore[attr-defined]  # waits for the first byte alone
        *lines, rest = block.split(b"\n")
        for line in lines:
            yield b"".join([*started, line])
            started = []
        started.append(rest)
        if len(block) < _BLOCK:
            yield None
    if any(started):
        yield b"".join(started)


def _decoded(name: str, content: bytes) -> Input:
    try:
        return Input(name, decode(content))
    except RequestError as error:
        return Input(name, "", error)


def in_chunks(inputs: Iterable[Input | None], *, max_texts: int, max_chars: int) -> Iterator[list[Input]]:
    """*inputs* in lists of at most *max_texts* texts and *max_chars* characters; a longer text is alone.

    None ends a list, so that nobody waits for an answer to what was sent.

    >>> texts = [Input("", "a"), Input("", "bb"), Input("", "ccc"), None, Input("", "d")]
    >>> [[one.text for one in chunk] for chunk in in_chunks(texts, max_texts=2, max_chars=4)]
    [['a', 'bb'], ['ccc'], ['d']]
    """
    chunk: list[Input] = []
    num_chars = 0
    for one in inputs:
        if chunk and (one is None or len(chunk) == max_texts or num_chars + len(one.text) > max_chars):
            yield chunk
            chunk, num_chars = [], 0
        if one is not None:
            chunk.append(one)
            num_chars += len(one.text)
    if chunk:
        yield chunk
