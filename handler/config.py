"""A bundle's ``config.json`` as frozen dataclasses; no torch needed.

Unknown and missing keys, wrong types and impossible values are errors, so that
a typo never becomes a default.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from contract.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version
from handler.errors import ConfigError
from handler.labels import SCHEMES, Scheme

#: The format written.  Format 2, with ``UNTIL_FORMAT_2``, and format 1, also without ``calibration`` and
#: ``SINCE_FORMAT_2``, are still read.
FORMAT = 3

#: A model setting without effect since format 3: the server limits the length of a text.
UNTIL_FORMAT_2 = "max_chars"

#: Training settings that format 1 does not have, with the values that stand for training without them.
SINCE_FORMAT_2: Mapping[str, object] = MappingProxyType({"corpus_shares": {}, "unannotated": {}, "perturbations": {}})

#: Sizes that no network of this kind has; they bound what a file of a few bytes can cost.
MAX_LABELS = 256
MAX_DIM = 1 << 16
MAX_KERNEL = 63
MAX_WORD_CHARS = 1000

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def _require(holds: bool, owner: str, key: str, expected: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{owner}.{key}: expected {expected}, got {value!r}")


@dataclass(frozen=True)
class ModelConfig:
    """Labels and sizes of the network.

    Attributes:
        labels: Entity labels, in the order of their tag ids.
        scheme: Tag scheme, ``"BIO"`` or ``"IOBES"``.
        word_dim: Width of the pretrained word vectors.
        char_dim: Width of a character embedding.
        char_filters: Width of the character CNN's output.
        char_kernel: Characters under one filter; odd.
        max_word_chars: Characters read of a word: the first and the last half of them where it is longer; even.
        case_dim: Width of the case embedding.
        hidden_dim: Width of the BiLSTM output, both directions together; even.
    """

    labels: tuple[str, ...]
    scheme: Scheme = "IOBES"
    word_dim: int = 100
    char_dim: int = 30
    char_filters: int = 50
    char_kernel: int = 3
    max_word_chars: int = 20
    case_dim: int = 8
    hidden_dim: int = 200

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if no such network can be built."""
        _require(len(self.labels) > 0, "model", "labels", "at least one label", self.labels)
        _require(len(self.labels) <= MAX_LABELS, "model", "labels", f"at most {MAX_LABELS} labels", len(self.labels))
        for label in self.labels:
            _require(_LABEL.fullmatch(label) is not None, "model", "labels", "letters, digits, - and _", label)
        _require(len(set(self.labels)) == len(self.labels), "model", "labels", "distinct labels", self.labels)
        _require(self.scheme in SCHEMES, "model", "scheme", f"one of {', '.join(SCHEMES)}", self.scheme)
        for key in ("word_dim", "char_dim", "char_filters", "case_dim"):
            _require(
                0 < getattr(self, key) <= MAX_DIM, "model", key, f"a number from 1 to {MAX_DIM}", getattr(self, key)
            )
        for key, most in (("max_word_chars", MAX_WORD_CHARS), ("hidden_dim", MAX_DIM)):
            value = getattr(self, key)
            _require(0 < value <= most and value % 2 == 0, "model", key, f"an even number from 2 to {most}", value)
        is_kernel = 0 < self.char_kernel <= MAX_KERNEL and self.char_kernel % 2 == 1
        _require(is_kernel, "model", "char_kernel", f"an odd number from 1 to {MAX_KERNEL}", self.char_kernel)


#: All perturbations, and the default of ``TrainingConfig.perturbations``.
PERTURBATION_SHARES: Mapping[str, float] = MappingProxyType(
    {"lower": 0.08, "upper": 0.08, "title": 0.04, "spacing": 0.02}
)


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights were trained.

    Attributes:
        seed: Seed of every random choice.
        max_epochs: Most passes over the training sentences.
        patience: Epochs without a better dev F1 before the run ends.
        batch_size: Sentences in a mini-batch.
        learning_rate: Peak of Adam's learning rate; it falls linearly to zero over ``max_epochs``.
        clip_norm: Largest norm of the gradient; a larger one is scaled down to it.
        ema_decay: Share of the old value in the moving average of the weights, per update; 0 keeps no average.
        dropout: Share of features dropped before and after the BiLSTM.
        word_dropout: Share of words trained as unknown.
        min_char_count: How often a character must occur to get an embedding.
        corpus_shares: Times that an epoch has each sentence of a corpus, by the name of its file; 1 if not named.
        unannotated: Labels that a corpus does not annotate: its untagged tokens may be any of them.
        perturbations: Share of sentences trained in lower case, in capitals, ... (``training/perturbation.py``).
    """

    seed: int = 0
    max_epochs: int = 30
    patience: int = 5
    batch_size: int = 32
    learning_rate: float = 2e-3
    clip_norm: float = 5.0
    ema_decay: float = 0.999
    dropout: float = 0.5
    word_dropout: float = 0.05
    min_char_count: int = 3
    corpus_shares: Mapping[str, float] = field(default_factory=dict)
    unannotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    perturbations: Mapping[str, float] = field(default_factory=lambda: dict(PERTURBATION_SHARES))

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if no such training can be run."""
        for key in ("max_epochs", "patience", "batch_size", "learning_rate", "clip_norm", "min_char_count"):
            _require(getattr(self, key) > 0, "training", key, "a positive number", getattr(self, key))
        for key in ("ema_decay", "dropout", "word_dropout"):
            value = getattr(self, key)
            _require(0 <= value < 1, "training", key, "a share in [0, 1)", value)
        for name, share in self.corpus_shares.items():
            _require(share >= 0, "training", "corpus_shares", f"a number from 0 on for {name}", share)
        shares = self.perturbations
        for name, share in shares.items():
            known = ", ".join(PERTURBATION_SHARES)
            _require(name in PERTURBATION_SHARES, "training", "perturbations", f"some of {known}", name)
            _require(share >= 0, "training", "perturbations", f"a share from 0 on for {name}", share)
        _require(sum(shares.values()) <= 1, "training", "perturbations", "shares of at most 1 together", dict(shares))


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn a CRF's marginal probability into a score (``handler/calibration.py``).

    Attributes:
        slope: Factor of the log-odds; below 1 for a model that is overconfident.
        offsets: Added to the log-odds, by label.
    """

    slope: float
    offsets: Mapping[str, float]

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if scores would not rise with the marginal."""
        object.__setattr__(self, "offsets", dict(sorted(self.offsets.items())))  # so that order changes no digest
        _require(0 < self.slope < math.inf, "calibration", "slope", "a positive number", self.slope)
        for label, offset in self.offsets.items():
            _require(math.isfinite(offset), "calibration", "offsets", f"a finite number for {label}", offset)


@dataclass(frozen=True)
class BundleConfig:
    """All of ``config.json``.

    Attributes:
        name: The model's default name.
        version: The model's version in TorchServe's form, such as ``"1.0"``.
        digests: SHA-256 of every other file of the bundle, ``"sha256:<hex>"`` by path.
        calibration: Turns marginals into scores; without one, the marginal is the score.
    """

    name: str
    version: str
    model: ModelConfig
    training: TrainingConfig
    digests: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        """Refuse a name or version that an archive cannot have, and a calibration for other labels.

        Raises:
            ConfigError: names the key and the value it got.
        """
        _require(is_model_name(self.name), "config", "name", MODEL_NAME_RULE, self.name)
        _require(is_version(self.version), "config", "version", VERSION_RULE, self.version)
        if self.calibration:
            labels = sorted(self.model.labels)
            found = sorted(self.calibration.offsets)
            _require(found == labels, "calibration", "offsets", f"one for each of {', '.join(labels)}", found)

    @classmethod
    def load(cls, path: Path) -> BundleConfig:
        """Read *path*; raises ConfigError if it is missing, unreadable or no JSON object, or a value is wrong."""
        try:
            document = json.loads(path.read_bytes(), object_pairs_hook=_distinct)
        except FileNotFoundError as error:
            raise ConfigError(f"{path.name}: missing") from error
        except OSError as error:
            raise ConfigError(f"{path.name}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path.name}: expected JSON: {error}") from error
        _require(isinstance(document, dict), path.name, "*", "an object", document)
        number = document.get("format")
        if not _is_int(number) or not 1 <= number <= FORMAT:
            raise ConfigError(f"config.format: expected 1, 2 or {FORMAT}, got {number!r}")
        keys = {"format", "name", "version", "model", "training", "digests"}
        _check_keys("config", document, keys if number == 1 else keys | {"calibration"})
        found = document.get("calibration")
        return cls(
            name=_converted("config", "name", document["name"], str),
            version=_converted("config", "version", document["version"], str),
            digests=_converted("config", "digests", document["digests"], Mapping[str, str]),
            model=model_config(document["model"] if number == FORMAT else _without_max_chars(document["model"])),
            training=training_config(document["training"], **(SINCE_FORMAT_2 if number == 1 else {})),
            calibration=None if found is None else _dataclass_from(Calibration, "calibration", found, {}),
        )

    def to_json(self) -> bytes:
        """The bytes of ``config.json``; the same configuration gives the same bytes."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "model": asdict(self.model),
            "training": asdict(self.training),
            "calibration": self.calibration and asdict(self.calibration),
            "digests": dict(sorted(self.digests.items())),
        }
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


_Config = TypeVar("_Config", ModelConfig, TrainingConfig, Calibration)


def model_config(values: object, **defaults: object) -> ModelConfig:
    """A :class:`ModelConfig` from a JSON object, which must have all keys not in *defaults*; raises ConfigError."""
    return _dataclass_from(ModelConfig, "model", values, defaults)


def training_config(values: object, **defaults: object) -> TrainingConfig:
    """A :class:`TrainingConfig` from a JSON object, which must have all keys not in *defaults*; raises ConfigError."""
    return _dataclass_from(TrainingConfig, "training", values, defaults)


def _without_max_chars(values: object) -> object:
    """The model's *values* from a file before format 3, without ``UNTIL_FORMAT_2``."""
    if not isinstance(values, dict):
        return values
    if UNTIL_FORMAT_2 not in values:
        raise ConfigError(f"model.{UNTIL_FORMAT_2}: missing")
    return {key: value for key, value in values.items() if key != UNTIL_FORMAT_2}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ConfigError(f"config: repeated key {next(key for key in keys if keys.count(key) > 1)!r}")
    return document


def _check_keys(owner: str, values: Mapping[str, object], known: set[str]) -> None:
    for key in sorted(values.keys() - known):
        raise ConfigError(f"{owner}.{key}: unknown key{suggestion(key, known)}")
    for key in sorted(known - values.keys()):
        raise ConfigError(f"{owner}.{key}: missing")


def suggestion(key: str, known: Iterable[str]) -> str:
    """What the end of a message says if *key* looks like one of those that are *known*.

    >>> suggestion("epochs", ["max_epochs", "seed"]), suggestion("x", ["seed"])
    ('; did you mean max_epochs?', '')
    """
    close = difflib.get_close_matches(key.lower().replace("-", "_"), list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    largest = sys.float_info.max
    return (_is_int(value) or isinstance(value, float)) and -largest <= value <= largest  # NaN is not


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_string, value))


def _is_object_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: {key: convert(item) for key, item in value.items()}


#: Field type: its name in messages, whether a value parsed from JSON has it, and the conversion.
_TYPES: dict[object, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    str: ("a string", _is_string, str),
    int: ("a whole number", _is_int, int),
    float: ("a number", _is_number, float),
    tuple[str, ...]: ("a list of strings", _is_list_of_strings, tuple),
    Mapping[str, str]: ("an object of strings", _is_object_of(_is_string), MappingProxyType),
    Mapping[str, float]: ("an object of numbers", _is_object_of(_is_number), _each(float)),
    Mapping[str, tuple[str, ...]]: ("an object of lists of strings", _is_object_of(_is_list_of_strings), _each(tuple)),
}


def _converted(owner: str, key: str, value: object, hint: object) -> Any:
    """*value*, parsed from JSON, as the field type *hint*; raises ConfigError."""
    expected, holds, convert = _TYPES.get(hint, _TYPES[str])  # others are literals
    _require(holds(value), owner, key, expected, value)
    return convert(value)


def _dataclass_from(cls: type[_Config], owner: str, values: object, defaults: Mapping[str, object]) -> _Config:
    if not isinstance(values, dict):
        raise ConfigError(f"{owner}: expected an object, got {values!r}")
    hints = get_type_hints(cls)
    merged = {**defaults, **values}
    _check_keys(owner, merged, set(hints))
    return cls(**{key: _converted(owner, key, value, hints[key]) for key, value in merged.items()})
