"""How much one text, one request and one batch may hold.

``NERSERVE_MAX_CHARS`` is the one setting; the rest follows from it or is fixed
(docs/decisions/0012).  What the numbers cost in seconds is measured by
``bench/long_texts.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from handler.errors import ConfigError, RequestTooLargeError, TextTooLongError

MAX_CHARS_VARIABLE = "NERSERVE_MAX_CHARS"
DEFAULT_MAX_CHARS = 100_000
LARGEST_MAX_CHARS = 1_000_000

#: Texts in one request, at most.
MAX_TEXTS = 256

#: Characters in one request for explanations, at most: each of its tokens is taken out of its sentence once.
MAX_EXPLAINED_CHARS = 2_000

#: Tokens of a sentence that can be explained, at most.
MAX_EXPLAINED_TOKENS = 128

#: Bytes in one reply, at most, where texts are no longer than by default: what TorchServe takes unless it is told more,
#: and over a longer one it ends the worker.  A list of two-letter names has replies of 24 bytes a character.
USUAL_REPLY_BYTES = 6_553_500

#: Characters that a batch takes beside one text as long as a text may be; about 20 s of the costliest on one core.
SPARE_BATCH_CHARS = 200_000

#: Characters to tag in the time that the explanation of one character may take.
EXPLAINED_CHAR_COST = 50


class Limits(NamedTuple):
    """Characters (code points) in one text, and as many in one request; ``purpose`` ends a message about them."""

    max_chars: int = DEFAULT_MAX_CHARS
    purpose: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Limits:
        """What ``NERSERVE_MAX_CHARS`` in *environment* says; the default where it is not set or empty.

        Raises:
            ConfigError: it is no whole number within its bounds.
        """
        value = environment.get(MAX_CHARS_VARIABLE, "").strip()
        if not value:
            return cls()
        if not re.fullmatch(r"[0-9]{1,7}", value) or not 1 <= int(value) <= LARGEST_MAX_CHARS:
            raise ConfigError(
                f"{MAX_CHARS_VARIABLE}: expected a whole number from 1 to {LARGEST_MAX_CHARS}, got {value[:40]!r}"
            )
        return cls(int(value))

    @property
    def batch_chars(self) -> int:
        """Characters that a batch takes, its first request aside."""
        return self.max_chars + SPARE_BATCH_CHARS

    @property
    def reply_bytes(self) -> int:
        """Bytes in one reply, at most: in proportion to the longest text."""
        return max(USUAL_REPLY_BYTES, -(-self.max_chars * USUAL_REPLY_BYTES // DEFAULT_MAX_CHARS))

    def for_explanations(self) -> Limits:
        """The limits of a request for explanations."""
        return Limits(min(self.max_chars, MAX_EXPLAINED_CHARS), " to be explained")

    def check_text(self, text: str) -> None:
        """Do nothing when *text* is short enough.

        Raises:
            TextTooLongError: it is not.
        """
        if len(text) > self.max_chars:
            raise TextTooLongError(
                f"expected at most {self.max_chars} characters in a text{self.purpose}, got {len(text)}"
            )

    def check_total(self, num_chars: int) -> None:
        """Do nothing when one request may have *num_chars* characters in all its texts.

        Raises:
            RequestTooLargeError: it may not.
        """
        if num_chars > self.max_chars:
            raise RequestTooLargeError(
                f"expected at most {self.max_chars} characters in a request{self.purpose}, got {num_chars}"
            )

    def check_reply(self, body: str) -> None:
        """Do nothing when *body*, JSON in ASCII, is short enough for a reply.

        Raises:
            RequestTooLargeError: it is not.
        """
        if len(body) > self.reply_bytes:
            raise RequestTooLargeError(
                f"expected a request whose reply has at most {self.reply_bytes} bytes, got one with {len(body)}"
            )


def check_num_texts(num_texts: int) -> None:
    """Do nothing when one request may have *num_texts* texts.

    Raises:
        RequestTooLargeError: it may not.
    """
    if num_texts > MAX_TEXTS:
        raise RequestTooLargeError(f"expected at most {MAX_TEXTS} texts in a request, got {num_texts}")


def check_explained_sentence(num_tokens: int) -> None:
    """Do nothing when a sentence of *num_tokens* tokens can be explained.

    Raises:
        TextTooLongError: it cannot.
    """
    if num_tokens > MAX_EXPLAINED_TOKENS:
        raise TextTooLongError(
            f"expected at most {MAX_EXPLAINED_TOKENS} tokens in a sentence to be explained, got {num_tokens}"
        )
