"""The one limit on the length of texts, and what follows from it for TorchServe.

``NERSERVE_MAX_CHARS`` is read by ``nerserve up``, the workers and the site; ``docs/operations.md`` says how it is set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ops.errors import ConfigFileError

MAX_CHARS_VARIABLE: Final = "NERSERVE_MAX_CHARS"
USUAL_MAX_CHARS: Final = 100_000
LARGEST_MAX_CHARS: Final = 1_000_000
USUAL_REQUEST_BYTES: Final = 1_048_576
USUAL_RESPONSE_BYTES: Final = 6_553_500

_HEAP_MIB: Final = 256
_COPIES: Final = 48
_HEAP: Final = re.compile(r"-Xmx(\d+)([kKmMgG]?)")
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def max_chars_of(environ: Mapping[str, str], option: int | None = None) -> int:
    """Characters in a text: *option* (``--max-chars``) if given, else the variable in *environ*, else the usual ones.

    A variable without anything but spaces counts as none.  Raises ConfigFileError for anything but a whole number in
    the range.
    """
    name, value = ("--max-chars", str(option)) if option is not None else (MAX_CHARS_VARIABLE, None)
    value = environ.get(MAX_CHARS_VARIABLE, "").strip() or str(USUAL_MAX_CHARS) if value is None else value
    if not re.fullmatch(r"[0-9]{1,7}", value) or not 1 <= int(value) <= LARGEST_MAX_CHARS:
        raise ConfigFileError(
            f"{name}: expected a number of characters from 1 to {LARGEST_MAX_CHARS}, got {value[:40]!r}"
        )
    return int(value)


def max_request_bytes(max_chars: int) -> int:
    """Bytes in a request's body that go with *max_chars*: in proportion, and never fewer than the usual ones.

    >>> max_request_bytes(1_000), max_request_bytes(100_000), max_request_bytes(1_000_000)
    (1048576, 1048576, 10485760)
    """
    return max(USUAL_REQUEST_BYTES, -(-max_chars * USUAL_REQUEST_BYTES // USUAL_MAX_CHARS))


def max_response_bytes(max_chars: int) -> int:
    """Bytes in a reply that go with *max_chars*, likewise; workers reckon the same and refuse what would need more.

    >>> max_response_bytes(1_000), max_response_bytes(100_000), max_response_bytes(1_000_000)
    (6553500, 6553500, 65535000)
    """
    return max(USUAL_RESPONSE_BYTES, -(-max_chars * USUAL_RESPONSE_BYTES // USUAL_MAX_CHARS))


def with_heap(jvm_options: Sequence[str], max_chars: int) -> list[str]:
    """*jvm_options* with a larger heap where longer requests need one; one that is large enough stays.

    A request is in the JVM three times (as it came, as a job, in a batch), and the site has 16 under way.  ``-Xmx``
    bounds the buffers outside the heap as well.  Replies fit into the same room: twelve of the longest at once did.

    >>> with_heap(["-Xmx256m"], 100_000), with_heap(["-Xmx256m"], 1_000_000), with_heap(["-Xmx2g"], 1_000_000)
    (['-Xmx256m'], ['-Xmx256m', '-Xmx688m'], ['-Xmx2g'])
    """
    sizes = [match for match in map(_HEAP.fullmatch, jvm_options) if match]
    more = max_request_bytes(max_chars) - USUAL_REQUEST_BYTES
    if not sizes or not more:  # unbounded it is a share of the machine's memory, as the JVM thinks right
        return list(jvm_options)
    given = int(sizes[-1][1]) * _UNITS[sizes[-1][2].lower()]
    needed = (_HEAP_MIB << 20) + _COPIES * more
    return [*jvm_options, *([] if given >= needed else [f"-Xmx{-(-needed // 2**20)}m"])]


def usual_drain_s(max_chars: int) -> float:
    """Seconds in which requests that were accepted are answered: twice what the costliest text takes, at least 30.

    >>> usual_drain_s(100_000), usual_drain_s(1_000_000)
    (30.0, 200.0)
    """
    return max(30.0, max_chars / 5_000)
