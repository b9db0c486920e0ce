"""The keys that commands send, and ``nerserve key``, which prints one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from ops.errors import InputFileError, NotNowError
from ops.process.addresses import Address
from ops.process.handle import running
from ops.process.state_dir import StateDir


@dataclass(frozen=True)
class KeySource:
    """Where the key for the server at *url* comes from.

    Attributes:
        key: Gives the key as it is at each call, or None.
        advice: What to do when the server refuses it.
    """

    key: Callable[[], str | None]
    advice: str

    @classmethod
    def of(cls, options: argparse.Namespace, api: str) -> KeySource:
        """The source for *api*, "management" or "inference", that *options* decide.

        A file that is named, else the state directory's, which is sent to addresses of this machine only.
        """
        named, url = getattr(options, f"{api}_key_file"), getattr(options, api)
        if named is not None:
            return cls(key_from(named), f"{named} has the key of another server, or an old one")
        published = StateDir(options.state_dir.absolute()).published_key(api)
        if not is_on_this_machine(url):
            return cls(lambda: None, f"name a file with its key: --{api}-key-file")
        return cls(
            lambda: key_from(published)() if published.exists() else None,
            f"name the state directory of its nerserve up with --state-dir or NERSERVE_STATE_DIR; {published} "
            + ("has another key" if published.exists() else "does not exist"),
        )


def key_from(path: Path) -> Callable[[], str]:
    """Gives the key in the file at *path* as it is at each call.

    The call raises InputFileError, which shows nothing of the content, when there is no key in it.
    """

    def key() -> str:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InputFileError(f"{path} cannot be read as a key: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputFileError(f"{path} holds no key: expected ASCII") from error
        if not text or not text.isprintable() or " " in text:
            raise InputFileError(f"{path} holds no key: expected one line with nothing but the key")
        return text

    return key


def is_on_this_machine(url: str) -> bool:
    """Whether what is sent to *url* stays on this machine.

    >>> is_on_this_machine("http://127.0.0.1:8081"), is_on_this_machine("http://ner.example.org:8081")
    (True, False)
    """
    return Address(urlsplit(url).hostname or "", 0, "").is_loopback


def print_key(options: argparse.Namespace, out: TextIO) -> int:
    """``nerserve key``; NotNowError when no nerserve up runs there, or it asks for none."""
    state_dir = StateDir(options.state_dir.absolute())
    handle = running(state_dir)
    published = state_dir.published_key(options.kind)
    if published.exists() and (handle is not None or not state_dir.handle.exists()):
        key = key_from(published)()
        out.write(json.dumps({"kind": options.kind, "key": key}) + "\n" if options.json else f"{key}\n")
        out.flush()
        return 0
    if handle is None:
        raise NotNowError(no_nerserve_runs(state_dir))
    if handle.has_keys:
        raise NotNowError(
            f"the nerserve with the state directory {state_dir.path} has no keys yet; wait until it is ready"
        )
    raise NotNowError(
        f"the nerserve with the state directory {state_dir.path} asks nobody for a key: its config.properties says "
        "disable_token_authorization=true"
    )


def no_nerserve_runs(state_dir: StateDir) -> str:
    """What a command says that finds no nerserve up."""
    return (
        f"no nerserve up runs with the state directory {state_dir.path}; "
        "name another with --state-dir or NERSERVE_STATE_DIR"
    )
