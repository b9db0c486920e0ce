"""The text of a file: its encoding and its line ends."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from training.errors import CorpusError

#: UTF-32 first, whose little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_data(path: Path) -> bytes:
    """The bytes of *path*; raises CorpusError if there are none to be had."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error


def decode(data: bytes, path: Path) -> str:
    r"""*data*, the content of *path*, as text whose lines end in LF; they may end in CR LF or all in CR.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte-order mark.  Marks at the beginning of a line, as ``cat`` leaves
    them, go; other line separators of Unicode are text.

    Raises:
        CorpusError: names the line that is no such text.
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"expected {encoding.removesuffix('-sig').upper()}, got byte 0x{data[error.start]:02X}"
        way_out = f"; if it is Windows-1252 or Latin-1: iconv -f WINDOWS-1252 -t UTF-8 {path} > NEW"
        raise CorpusError(f"{path}:{line}: {problem}{way_out if encoding == 'utf-8' else ''}") from error
    if "\0" in text:
        raise CorpusError(
            f"{path}:{_line(text, text.index(chr(0)))}: expected text, got the character U+0000; if it is UTF-16:"
            f" iconv -f UTF-16LE -t UTF-8 {path} > NEW"
        )
    if "\r" in text:
        text = re.sub(r"\r+(\n|\Z)", r"\1", text) if "\n" in text else text.replace("\r", "\n")
        if "\r" in text:
            raise CorpusError(
                f"{path}:{_line(text, text.index(chr(13)))}: expected lines to end alike, in LF, CR LF or CR, got a CR"
                f" within a line; if it ends a line: tr '\\r' '\\n' < {path} > NEW"
            )
    return text.replace("\n\ufeff", "\n")


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
