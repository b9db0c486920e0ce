"""The settings of a training: read from a JSON file over the defaults, and listed with what they mean.

Names, defaults and meanings are those of the dataclasses in :mod:`handler.config` and their docstrings.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from handler.config import About, ModelConfig, TrainingConfig
from handler.errors import ConfigError
from handler.fields import dataclass_from, suggestion
from training.errors import CorpusError, InputError

#: Sections of a file, and their defaults.
_SECTIONS: dict[str, ModelConfig | TrainingConfig | About] = {
    "model": ModelConfig(labels=("X",)),
    "training": TrainingConfig(),
    "about": About(),
}
_KEYS = "expected an object with the keys model, training and about"

#: Settings that no file has, and where they come from.
_FROM_DATA = {"labels": "the training files, as --label-map maps them", "word_dim": "the vectors"}

#: Longer defaults are shown below the meaning.
_SHORT = 10


class Setting(NamedTuple):
    """A setting's dotted name, its default, its value if a file changes it (else None), and what it means.

    The default of one that comes from the data is None.
    """

    name: str
    default: Any
    value: Any
    meaning: str


def read_settings(
    path: Path | None, labels: Sequence[str], like: ModelConfig | None = None
) -> tuple[ModelConfig, TrainingConfig]:
    """The settings in *path* over the defaults, for *labels*; ``word_dim`` is a placeholder.

    The network of a bundle that the run goes on from is *like* this; other settings of the model are refused.

    Raises:
        CorpusError: the labels cannot be those of a model.
        InputError: names the setting that is unknown or has a wrong value.
    """
    try:
        defaults = asdict(replace(like, labels=tuple(labels)) if like else ModelConfig(labels=tuple(labels)))
    except ConfigError as error:
        raise CorpusError(f"{error}; in ASCII, a letter first; --label-map FILE gives labels other names") from error
    document = _document(path)
    try:
        model = dataclass_from(ModelConfig, "model", document.get("model", {}), defaults)
        training = dataclass_from(TrainingConfig, "training", document.get("training", {}), asdict(TrainingConfig()))
    except ConfigError as error:
        raise InputError(f"{path}: {error}") from error
    for key, value in asdict(model).items():
        if like and value != defaults[key]:
            raise InputError(f"{path}: model.{key}: expected {defaults[key]}, as the bundle of --init has, got {value}")
    return model, training


def read_about(
    path: Path | None, before: About | None = None, *, description: str | None = None, language: str | None = None
) -> About:
    """What people are told of a model: *description* and *language*, else what *path* has, else what was told *before*.

    Raises:
        InputError: names the setting that is unknown or has a wrong value.
    """
    try:
        about = dataclass_from(About, "about", _document(path).get("about", {}), asdict(before or About()))
    except ConfigError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        about = replace(about, description=about.description if description is None else description)
        return replace(about, language=about.language if language is None else language)
    except ConfigError as error:
        raise InputError(f"--{str(error).removeprefix('about.')}") from error


def all_settings(path: Path | None) -> list[Setting]:
    """Every setting; those that the file *path* changes with their value.

    Raises:
        InputError: as :func:`read_settings`.
    """
    read_settings(path, ["X"])
    read_about(path)
    document = _document(path)
    found = []
    for section, one in _SECTIONS.items():
        meanings, defaults = _meanings(type(one)), asdict(one)
        for field in fields(one):
            key = field.name
            default = None if key in _FROM_DATA else defaults[key]
            value = document.get(section, {}).get(key)
            found.append(Setting(f"{section}.{key}", default, None if value == default else value, meanings[key]))
    return found


def settings_table(settings: Sequence[Setting], width: int) -> str:
    """*settings* as lines for people, of at most *width* characters if the columns leave room for the meaning."""
    names = [setting.name for setting in settings]
    has_values = any(setting.value is not None for setting in settings)
    columns = [max(map(len, names)), _SHORT, *([_SHORT] if has_values else [])]
    indent = sum(columns) + 2 * len(columns)
    lines = [_row(columns, ["setting", "default", *(["now"] if has_values else [])], "meaning")]
    for name, default, value, meaning in settings:
        shown = "(data)" if name.partition(".")[2] in _FROM_DATA else json.dumps(default)
        now = "" if value is None else json.dumps(value)
        more = [f"{word}: {text}" for word, text in (("default", shown), ("now", now)) if len(text) > _SHORT]
        cells = [name, *("..." if len(text) > _SHORT else text for text in (shown, now))][: len(columns)]
        first, *rest = [
            line for text in (meaning, *more) for line in textwrap.wrap(text, max(40, width - indent)) or [""]
        ]
        lines += [_row(columns, cells, first), *(" " * indent + line for line in rest)]
    return "\n".join(lines)


def _row(columns: Sequence[int], cells: Sequence[str], meaning: str) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, columns, strict=True)), meaning])


def _document(path: Path | None) -> dict[str, dict[str, Any]]:
    """The JSON object in *path*, whose keys are sections, and theirs settings that a file may have."""
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_distinct) if path else {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON: {error}") from error
    names = {section: [field.name for field in fields(one)] for section, one in _SECTIONS.items()}
    if not isinstance(document, dict):
        raise InputError(f"{path}: {_KEYS}")
    for section, settings in document.items():
        if section not in _SECTIONS:
            homes = [home for home, known in names.items() if section in known]
            hint = f"; {section} is a setting of {homes[0]}" if homes else suggestion(section, _SECTIONS)
            raise InputError(f"{path}: {_KEYS}, got {section!r}{hint}")
        for key in settings if isinstance(settings, dict) else ():
            if key in _FROM_DATA and section == "model":
                raise InputError(f"{path}: model.{key}: expected to be left out, it comes from {_FROM_DATA[key]}")
            homes = [home for home, known in names.items() if key in known]
            if homes and section not in homes:
                raise InputError(f"{path}: {section}.{key}: unknown key; it is a setting of {homes[0]}")
    return document


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """*pairs* as an object; raises ValueError if a key stands twice, of which JSON takes the last."""
    keys = [key for key, _ in pairs]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{repeated[0]} stands twice in an object")
    return dict(pairs)


def _meanings(cls: type) -> dict[str, str]:
    """What the attributes in the docstring of *cls* mean, by name."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "") for name, text in entries}
