"""What earlier versions wrote as ``config.json``, and what today's makes of it.

Format 1 has no calibration, and not the settings of training that came with format 2.  Formats 1 and 2 have a model
setting ``max_chars``, which does nothing any more: the server limits the length of a text.  Format 3 has neither
``about`` nor ``profile``, and no numbers of text rules: its models are trained by the first rules.  The handler reads
the newest format alone, since every archive has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from handler.config import FORMAT, About, BundleConfig, is_older
from handler.digests import CONFIG_FILE
from handler.errors import ConfigError
from handler.fields import converted, read_object
from handler.text.rules import TEXT_RULES

#: Text rules before they had numbers; what has no number was not there.
FIRST_RULES: Mapping[str, int] = MappingProxyType({"tokens": 1, "lines": 1})

_Document = dict[str, Any]


def read_config(folder: Path) -> BundleConfig:
    """The configuration of the bundle *folder*, of any format and text rules; raises ConfigError."""
    return renewed(read_object(folder / CONFIG_FILE))


def renewed(document: _Document) -> BundleConfig:
    """The configuration in *document*, of any format and text rules; raises ConfigError."""
    number = document.get("format")
    if is_older(number):
        for step in _STEPS[number - 1 :]:
            document = step(document)
        document = {**document, "format": FORMAT}
    if "rules" in document:
        rules_of(document)
        document = {**document, "rules": dict(TEXT_RULES)}
    return BundleConfig.from_document(document)


def rules_of(document: _Document) -> Mapping[str, int]:
    """The numbers of the text rules that the model of *document* is for; raises ConfigError if they are none."""
    if is_older(document.get("format")):
        return FIRST_RULES
    rules: Mapping[str, int] = converted("config", "rules", document.get("rules"), Mapping[str, int])
    return rules


def _format_2(document: _Document) -> _Document:
    """*document*, of format 1, in format 2: each sentence was trained on once an epoch, as it stands."""
    new: _Document = {"corpus_shares": {}, "unannotated": {}, "perturbations": {}}
    training = _added("training", document.get("training"), new)
    return {**_added("config", document, {"calibration": None}), "training": training}


def _format_3(document: _Document) -> _Document:
    """*document*, of format 2, in format 3."""
    model = document.get("model")
    if isinstance(model, dict):
        if "max_chars" not in model:
            raise ConfigError("model.max_chars: missing")
        model = {key: value for key, value in model.items() if key != "max_chars"}
    return {**document, "model": model}


def _format_4(document: _Document) -> _Document:
    """*document*, of format 3, in format 4."""
    new = {"about": asdict(About()), "rules": dict(FIRST_RULES), "profile": None}
    return {**_added("config", document, new)}


_STEPS: tuple[Callable[[_Document], _Document], ...] = (_format_2, _format_3, _format_4)


def _added(owner: str, values: Any, new: Mapping[str, object]) -> Any:
    """*values*, if they are an object, and the keys *new*, of which none of its format has one; raises ConfigError."""
    if not isinstance(values, dict):
        return values
    for key in sorted(new.keys() & values.keys()):
        raise ConfigError(f"{owner}.{key}: unknown key")
    return {**values, **new}
