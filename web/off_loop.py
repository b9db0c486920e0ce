"""Work that keeps the processor busy for long, away from the loop that serves everybody else.

A greenlet gives way only where it waits. So what grows with a document (reading it, checking it, writing it) runs in a
thread once the document is large, and there in steps: the interpreter lets others in between two steps in Python, not
within a call in C that reads or writes a whole document.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import Any, Final, TypeVar, cast

from gevent import get_hub
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

R = TypeVar("R")

LARGE: Final = 30_000
"""Bytes or characters from which on a document is large: about a millisecond's work."""

_SLICE: Final = 200


def off_loop(work: Callable[..., R], *arguments: Any, size: int = LARGE) -> R:
    """What *work* returns or raises for *arguments*; it must not wait for anything.

    Under gevent it runs in a thread, one at a time, unless *size* says that there is little to do; elsewhere at once.
    """
    if size < LARGE or not is_module_patched("threading"):
        return work(*arguments)
    result, error = _threads().apply(_outcome, (copy_context().run, work, *arguments))
    if error is not None:
        raise error
    return cast(R, result)


def write_json(encoder: json.JSONEncoder, value: object) -> str:
    """The JSON of *value* as *encoder* writes it, long lists in steps.

    >>> write_json(json.JSONEncoder(), {"a": [{"b": n} for n in range(300)]})[-18:]
    '298}, {"b": 299}]}'
    """
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        pairs = (f"{encoder.encode(key)}{encoder.key_separator}{write_json(encoder, value[key])}" for key in value)
        return f"{{{encoder.item_separator.join(pairs)}}}"
    if isinstance(value, list):
        if len(value) > _SLICE:
            slices = (encoder.encode(value[i : i + _SLICE])[1:-1] for i in range(0, len(value), _SLICE))
        else:
            slices = (write_json(encoder, item) for item in value)
        return f"[{encoder.item_separator.join(slices)}]"
    return encoder.encode(value)


@cache
def _threads() -> ThreadPool:
    return ThreadPool(1, hub=get_hub())


def _outcome(work: Callable[..., R], *arguments: Any) -> tuple[R | None, BaseException | None]:
    """What *work* returns and what it raises; gevent would write the latter into the log as well."""
    try:
        return work(*arguments), None
    except Exception as error:  # noqa: BLE001  (raised again by off_loop)
        return None, error
