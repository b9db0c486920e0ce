"""Java properties as TorchServe reads them: ``java.util.Properties`` from a stream, then ``$$VARIABLES$$`` replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import javaproperties

#: A line of nothing but a backslash: javaproperties takes a comment after it for a setting, Java does not.
_LONE_BACKSLASH: Final = re.compile(r"(?:^|(?<=[\r\n]))[ \t\f]*\\(?:\r\n?|\n)")
_VARIABLE: Final = re.compile(r"\$\$([^$]+[^$])\$\$")


def parse_properties(text: str) -> dict[str, str]:
    r"""The settings in *text*, a file's bytes as ISO-8859-1; ValueError where Java refuses it.

    >>> parse_properties("# why\na=1 \nb : two \\\n  words\nc=C:\\\\\\u00e9\n")
    {'a': '1 ', 'b': 'two words', 'c': 'C:\\é'}
    """
    return javaproperties.loads(_LONE_BACKSLASH.sub("", text))


def format_properties(settings: Mapping[str, str]) -> str:
    r"""A file in ASCII from which Java reads *settings*.

    >>> format_properties({"a": "C:\\é"})
    'a=C\\:\\\\\\u00e9\n'
    """
    return javaproperties.dumps(settings, timestamp=False)


def resolve_variables(value: str, environ: Mapping[str, str]) -> str:
    r"""*value* with each ``$$NAME$$`` replaced by that variable of *environ*.

    >>> resolve_variables("$$HOME$$/certificate.pem", {"HOME": "/srv"})
    '/srv/certificate.pem'

    Raises:
        ValueError: there is no such variable, or TorchServe would misread its value: it takes backslashes and dollar
            signs there for its own syntax.  The message shows no value.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise ValueError(f"TorchServe's environment has no variable {name}")
        if re.search(r"[\\$]", environ[name]):
            raise ValueError(f"the variable {name} has a backslash or a dollar sign, which TorchServe misreads")
        return environ[name]

    return _VARIABLE.sub(replacement, value)
