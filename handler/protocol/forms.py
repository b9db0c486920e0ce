"""Whether an urlencoded form is all there, when TorchServe has taken it apart.

TorchServe drops what follows a line break, a last piece without ``=``, and all but the last part of a name.  What an
encoder has written has none of these; what somebody typed may, and would be answered for a part of its text.
"""

from __future__ import annotations

from collections.abc import Mapping

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

#: What encoders leave as it is beside letters and digits: PHP's; those of curl, Go, .NET and Python's urlencode; of
#: browsers, Java and Ruby; Python's quote; JavaScript's encodeURIComponent.
_ENCODERS = tuple(_LETTERS + plain for plain in (b"-_.", b"-_.~", b"-_.*", b"-_.~/", b"-_.!~*'()"))

#: What cannot stand in a value as it is; who types a form encodes these alone.
_NEVER_PLAIN = b"%&+\r\n"


def is_whole(parts: Mapping[str, bytes | bytearray], num_bytes: int) -> bool:
    """Whether an urlencoded form of *num_bytes* can have been these *parts* and nothing else.

    >>> is_whole({"text": b"AT&T, Rome"}, len("text=AT%26T%2C+Rome")), is_whole({"text": b"AT"}, len("text=AT&T, Rome"))
    (True, False)
    """
    values = b"".join(parts.values())
    num_plain = len(values) + sum(len(name.encode()) + len("=&") for name in parts) - len("&")
    lengths = {num_plain + 2 * (len(values) - len(values.translate(None, _NEVER_PLAIN)))}
    num_blanks = values.count(b" ")
    for plain in _ENCODERS:
        length = num_plain + 2 * len(values.translate(None, plain + b" "))
        lengths |= {length, length + 2 * num_blanks}  # a blank is + or %20
    return num_bytes in lengths
