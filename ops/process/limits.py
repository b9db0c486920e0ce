"""What the longest text means for TorchServe as a process: the JVM's heap and the time to drain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from contract.limits import DEFAULT_REQUEST_BYTES, RequestLimits

_HEAP_MIB: Final = 256
_COPIES: Final = 48
_HEAP: Final = re.compile(r"-Xmx(\d+)([kKmMgG]?)")
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def with_heap(jvm_options: Sequence[str], limits: RequestLimits) -> list[str]:
    """*jvm_options* with a larger heap where longer requests need one; one that is large enough stays.

    A request is in the JVM three times (as it came, as a job, in a batch), and the site has 16 in flight.  ``-Xmx``
    bounds the buffers outside the heap as well.  Replies fit into the same room: twelve of the longest at once did.

    >>> [with_heap(["-Xmx256m"], RequestLimits(max_chars)) for max_chars in (100_000, 1_000_000)]
    [['-Xmx256m'], ['-Xmx256m', '-Xmx688m']]
    """
    sizes = [match for match in map(_HEAP.fullmatch, jvm_options) if match]
    more = limits.request_bytes - DEFAULT_REQUEST_BYTES
    if not sizes or not more:  # without a bound it is a share of the machine's memory, the JVM's default
        return list(jvm_options)
    given = int(sizes[-1][1]) * _UNITS[sizes[-1][2].lower()]
    needed = (_HEAP_MIB << 20) + _COPIES * more
    return [*jvm_options, *([] if given >= needed else [f"-Xmx{-(-needed // 2**20)}m"])]


def default_drain_s(limits: RequestLimits) -> float:
    """Seconds in which accepted requests are answered: twice what the costliest text takes, at least 30.

    >>> default_drain_s(RequestLimits(100_000)), default_drain_s(RequestLimits(1_000_000))
    (30.0, 200.0)
    """
    return max(30.0, limits.max_chars / 5_000)
