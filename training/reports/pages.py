"""HTML from the templates of this package; every text is escaped, and no character in it disturbs the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# Control characters, surrogates and noncharacters, which HTML cannot hold; line ends; and the marks, embeddings,
# overrides and isolates of the bidirectional algorithm, which would reorder the text around them.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def render(template: str, **values: Any) -> str:
    """The text of *template*, a file in ``templates/``, filled with *values*."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment.get_template(template).render(values)


def _printable(value: Any) -> Any:
    r"""*value*; if it is a text, with unprintable characters as ``[U+XXXX]``.

    >>> _printable("a\u202eb")
    'a[U+202E]b'
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):  # a number; HTML
        return value
    return _UNPRINTABLE.sub(lambda match: f"[U+{ord(match.group()):04X}]", value)


def _percent(score: float) -> str:
    """*score* (0 to 1) in percent; 100% only for exactly 1.

    >>> _percent(0.98765), _percent(0.99999), _percent(1.0), _percent(0.0)
    ('98.8%', '>99.9%', '100.0%', '0.0%')
    """
    return ">99.9%" if 0.9995 <= score < 1 else f"{score:.1%}"
