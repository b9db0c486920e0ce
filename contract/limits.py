"""How much one text, one request, one reply and one batch may hold.

``NERSERVE_MAX_CHARS`` is the one setting; ``nerserve up``, the workers and the site read it here, and the rest follows
from it or is fixed (docs/decisions/0012).  ``nerserve bench long`` measures what the numbers cost in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contract.errors import RequestTooLargeError, SettingError, TextTooLongError
from contract.settings import read_settings

MAX_CHARS_VARIABLE = "NERSERVE_MAX_CHARS"
DEFAULT_MAX_CHARS = 100_000
LARGEST_MAX_CHARS = 1_000_000

#: Texts in one request, at most.
MAX_TEXTS = 256

#: Characters in one request for explanations, at most: each of its tokens is taken out of its sentence once.
MAX_EXPLAINED_CHARS = 2_000

#: Tokens of a sentence that can be explained, at most.
MAX_EXPLAINED_TOKENS = 128

#: Bytes in one request, at most, at the default limit of characters.
DEFAULT_REQUEST_BYTES = 1_048_576

#: Bytes in one reply, at most, at the default limit of characters: TorchServe's own default; it ends a worker that
#: sends more.  A list of two-letter names has replies of 24 bytes a character.
DEFAULT_REPLY_BYTES = 6_553_500

#: Bytes of UTF-8 in a character, at most.
_MAX_CHAR_BYTES = 4

#: Characters that a batch takes beside one text as long as a text may be; about 20 s of the costliest on one core.
SPARE_BATCH_CHARS = 200_000

#: A request with more characters than this is a long one: it keeps a worker for up to seconds.
LONG_CHARS = 10_000

#: Characters to tag in the time that the explanation of one character may take.
EXPLAINED_CHAR_COST = 50


@dataclass(frozen=True)
class RequestLimits:
    """The limits that follow from the longest text.

    Attributes:
        max_chars: Code points in one text, and in all texts of one request.
        purpose: What messages add to the word for a text.
    """

    max_chars: int = DEFAULT_MAX_CHARS
    purpose: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> RequestLimits:
        """The limits by ``NERSERVE_MAX_CHARS``; the default where it is not set or blank.

        Raises:
            SettingError: it is no whole number in its range, or *environment* has a name that is no setting.
        """
        value = read_settings(environment).get(MAX_CHARS_VARIABLE, "").strip()
        return cls.read(value, MAX_CHARS_VARIABLE) if value else cls()

    @classmethod
    def read(cls, value: str, name: str) -> RequestLimits:
        """The limits for the number *value* of the setting *name*; raises SettingError.

        >>> RequestLimits.read("500", "--max-chars").max_chars
        500
        """
        if not re.fullmatch(r"[0-9]{1,7}", value) or not 1 <= int(value) <= LARGEST_MAX_CHARS:
            raise SettingError(
                f"{name}: expected a whole number of characters from 1 to {LARGEST_MAX_CHARS}, got {value[:40]!r}"
            )
        return cls(int(value))

    @property
    def request_bytes(self) -> int:
        """Bytes in one request's body, and in one line of a stream: in proportion to the longest text.

        >>> RequestLimits(10).request_bytes, RequestLimits(1_000_000).request_bytes
        (1048576, 10485760)
        """
        return self._in_proportion(DEFAULT_REQUEST_BYTES)

    @property
    def reply_bytes(self) -> int:
        """Bytes in one reply, in proportion to the longest text.

        >>> RequestLimits(10).reply_bytes, RequestLimits(1_000_000).reply_bytes
        (6553500, 65535000)
        """
        return self._in_proportion(DEFAULT_REPLY_BYTES)

    @property
    def batch_chars(self) -> int:
        """Characters that a batch takes, its first request aside."""
        return self.max_chars + SPARE_BATCH_CHARS

    def work_s(self, response_timeout_s: float = math.inf) -> float:
        """Seconds that a worker works on a batch at most: the deadline of a request that names none, or a later one.

        Several times what the costliest batch takes, and four fifths of *response_timeout_s*, after which TorchServe
        kills the worker.

        >>> RequestLimits().work_s(), RequestLimits(1_000_000).work_s(), RequestLimits().work_s(20)
        (60.0, 240.0, 16.0)
        """
        return min(max(60.0, self.max_chars * 240e-6), 0.8 * response_timeout_s)

    def for_explanations(self) -> RequestLimits:
        """The limits of a request for explanations."""
        return RequestLimits(min(self.max_chars, MAX_EXPLAINED_CHARS), " to be explained")

    def check_text(self, text: str) -> None:
        """Raise TextTooLongError if *text* has more than ``max_chars`` code points."""
        if len(text) > self.max_chars:
            raise TextTooLongError(
                f"The text{self.purpose} is too long: it has {len(text):,} characters, the limit is {self.max_chars:,}."
            )

    def check_texts(self, texts: Iterable[str]) -> None:
        """Raise RequestTooLargeError if *texts*, those of one request, have more than ``max_chars`` code points."""
        num_chars = sum(map(len, texts))
        if num_chars > self.max_chars:
            raise RequestTooLargeError(
                f"The texts{self.purpose} have {num_chars:,} characters in all, the limit is {self.max_chars:,}."
            )

    def check_reply(self, body: str) -> None:
        """Raise RequestTooLargeError if *body* has more than ``reply_bytes`` in UTF-8."""
        if len(body) * _MAX_CHAR_BYTES <= self.reply_bytes:  # so that hardly any reply is encoded for this alone
            return
        num_bytes = len(body.encode())
        if num_bytes > self.reply_bytes:
            raise RequestTooLargeError(f"The reply would have {num_bytes:,} bytes, the limit is {self.reply_bytes:,}.")

    def _in_proportion(self, default: int) -> int:
        return max(default, -(-self.max_chars * default // DEFAULT_MAX_CHARS))


def check_num_texts(num_texts: int) -> None:
    """Raise RequestTooLargeError if one request may not have *num_texts* texts."""
    if num_texts > MAX_TEXTS:
        raise RequestTooLargeError(f"The request has {num_texts:,} texts, the limit is {MAX_TEXTS:,}.")


def check_explained_sentence(num_tokens: int) -> None:
    """Raise TextTooLongError if a sentence of *num_tokens* tokens is too long to be explained."""
    if num_tokens > MAX_EXPLAINED_TOKENS:
        raise TextTooLongError(
            f"The sentence to be explained is too long: it has {num_tokens:,} tokens, "
            f"the limit is {MAX_EXPLAINED_TOKENS:,}."
        )
