"""Words that people try for our commands, and the spellings of options that were right in 0.1."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Words that people try, and the command that does what they mean.
WORDS: Final[Mapping[str, str]] = {
    "start": "up",
    "serve": "up",
    "run": "up",
    "launch": "up",
    "tag": "predict",
    "ner": "predict",
    "extract": "predict",
    "annotate": "predict",
    "recognize": "predict",
    "infer": "predict",
    "stop": "down",
    "kill": "down",
    "shutdown": "down",
    "ls": "models",
    "list": "models",
    "ps": "status",
    "show": "describe",
    "info": "status",
    "health": "status",
    "verify": "inspect",
    "validate": "inspect",
    "add": "register",
    "load": "register",
    "remove": "unregister",
    "rm": "unregister",
    "delete": "unregister",
    "deploy": "rollout",
    "upgrade": "rollout",
    "update": "rollout",
    "undo": "rollback",
    "revert": "rollback",
    "token": "key",
    "keys": "key",
    "build": "archive",
    "pack": "archive",
    "package": "archive",
    "export": "archive",
    "fit": "train",
    "learn": "train",
    "test": "evaluate",
    "eval": "evaluate",
    "score": "evaluate",
    "benchmark": "bench",
    "log": "logs",
    "tail": "logs",
    "check": "data check",
    "lint": "data check",
    "convert": "data convert",
    "completions": "completion",
    "settings": "config",
}


@dataclass(frozen=True)
class Old:
    """A spelling of an option that still works, with a warning.

    Attributes:
        option: As it was written.
        now: As it is written.
        applies: Whether a value is one of the old spelling, where *option* has another meaning now.
        item: What an item of a list looks like that had blanks between its items, and has commas now.
    """

    option: str
    now: str
    applies: Callable[[str], object] = lambda _: True
    item: re.Pattern[str] | None = None


def _is_file(value: str) -> bool:
    return value.endswith(".json") or Path(value).is_file()


_NUMBER = re.compile(r"[0-9]+")
_WORD = re.compile(r"(?!-).+", re.DOTALL)

_LOAD_TIMEOUT = Old("--timeout", "--load-timeout")
_DRAIN_TIMEOUT = Old("--timeout", "--drain-timeout")

#: By command.
OLD: Final[Mapping[str, Sequence[Old]]] = {
    "archive": (Old("--out", "--model-store"), Old("--version", "--model-version")),
    "train": (
        Old("--version", "--model-version"),
        Old("--labels", "--label-map"),
        Old("--seeds", "--seeds", item=_NUMBER),
    ),
    "evaluate": (Old("--labels", "--label-map", applies=_is_file), Old("--only", "--labels", item=_WORD)),
    "scale": (_LOAD_TIMEOUT,),
    "register": (_LOAD_TIMEOUT,),
    "rollout": (_LOAD_TIMEOUT, Old("--keep-old", "--old=stopped")),
    "rollback": (_LOAD_TIMEOUT,),
    "drain": (_DRAIN_TIMEOUT,),
    "unregister": (_DRAIN_TIMEOUT,),
    "bench": (
        Old("--json", "--out", applies=re.compile(r".*[./]").match),
        Old("--connections", "--connections", item=_NUMBER),
        Old("--sizes", "--sizes", item=_NUMBER),
        Old("--without", "--without", item=re.compile("spacy|litserve|classic|gunicorn")),
        Old("--kinds", "--kinds", item=re.compile("ordinary|unended|punctuation|han|one word")),
        Old("--choices", "--choices", item=re.compile(r"\w+:[0-9]+")),
    ),
}


def with_new_spellings(arguments: Sequence[str], warn: Callable[[str], object]) -> list[str]:
    """*arguments* of ``nerserve`` as they are spelt now; *warn* gets a sentence for each that is spelt as in 0.1.

    >>> with_new_spellings(["archive", "models/en", "--out=store"], print)
    --out is now --model-store; the next release takes nothing else
    ['archive', 'models/en', '--model-store=store']
    >>> with_new_spellings(["train", "--seeds", "1", "2"], print)
    --seeds takes a list with commas now, --seeds 1,2; the next release takes nothing else
    ['train', '--seeds', '1,2']
    """
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    spelt: list[str] = []
    rest = list(arguments)
    while rest and rest[0] != "--":
        option, equals, value = rest.pop(0).partition("=")
        value = value if equals else rest[0] if rest else ""
        old = next((one for one in OLD.get(command, ()) if one.option == option and one.applies(value)), None)
        now = option if old is None else old.now
        if old is not None and now != option:
            warn(f"{option} is now {now.replace('=', ' ')}; the next release takes nothing else")
        spelt.append(f"{now}{equals}{value if equals else ''}")
        if old is not None and old.item is not None and not equals:
            items = []
            while rest and old.item.fullmatch(rest[0]):
                items.append(rest.pop(0))
            if len(items) > 1:
                listed = f"{now} {','.join(items)}"
                warn(f"{now} takes a list with commas now, {listed}; the next release takes nothing else")
            spelt += [",".join(items)] if items else []
    return spelt + rest
