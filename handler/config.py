"""A bundle's ``config.json`` as frozen dataclasses; no torch needed."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

from contract.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version
from handler.calibration import SCORE_BOUNDS
from handler.errors import ConfigError
from handler.fields import check_keys, converted, dataclass_from, read_object, require
from handler.labels import SCHEMES, Scheme
from handler.text.rules import TEXT_RULES

#: The format written, and the only one read.
FORMAT = 4

#: The end of a message about a bundle that another version of this code has written.
_RENEW = "; nerserve renew BUNDLE --out NEW brings it up to date"

#: Sizes that no network of this kind has; they bound what a file of a few bytes can cost.
MAX_LABELS = 256
MAX_DIM = 1 << 16
MAX_KERNEL = 63
MAX_WORD_CHARS = 1000

#: Characters of a description, and of a label's name for people.
MAX_DESCRIPTION_CHARS = 200
MAX_LABEL_NAME_CHARS = 40

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

#: A tag of RFC 5646, section 2.1 (BCP 47), without grandfathered ones and languages of four letters or more: there are
#: none.
_LANGUAGE = re.compile(
    r"""
    [a-z]{2,3} (-[a-z]{3}){0,3}                       # language
    ( -[a-z]{4} )?                                    # script
    ( -([a-z]{2}|[0-9]{3}) )?                         # region
    ( -([a-z0-9]{5,8}|[0-9][a-z0-9]{3}) )*            # variants
    ( -[a-wyz0-9](-[a-z0-9]{2,8})+ )*                 # extensions
    ( -x(-[a-z0-9]{1,8})+ )?                          # private use
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_MAX_LANGUAGE_CHARS = 64


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
        require(len(self.labels) > 0, "model", "labels", "at least one label", self.labels)
        require(len(self.labels) <= MAX_LABELS, "model", "labels", f"at most {MAX_LABELS} labels", len(self.labels))
        for label in self.labels:
            require(_LABEL.fullmatch(label) is not None, "model", "labels", "letters, digits, - and _", label)
        require(len(set(self.labels)) == len(self.labels), "model", "labels", "distinct labels", self.labels)
        require(self.scheme in SCHEMES, "model", "scheme", f"one of {', '.join(SCHEMES)}", self.scheme)
        for key in ("word_dim", "char_dim", "char_filters", "case_dim"):
            require(
                0 < getattr(self, key) <= MAX_DIM, "model", key, f"a number from 1 to {MAX_DIM}", getattr(self, key)
            )
        for key, most in (("max_word_chars", MAX_WORD_CHARS), ("hidden_dim", MAX_DIM)):
            value = getattr(self, key)
            require(0 < value <= most and value % 2 == 0, "model", key, f"an even number from 2 to {most}", value)
        is_kernel = 0 < self.char_kernel <= MAX_KERNEL and self.char_kernel % 2 == 1
        require(is_kernel, "model", "char_kernel", f"an odd number from 1 to {MAX_KERNEL}", self.char_kernel)


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
            require(getattr(self, key) > 0, "training", key, "a positive number", getattr(self, key))
        for key in ("ema_decay", "dropout", "word_dropout"):
            value = getattr(self, key)
            require(0 <= value < 1, "training", key, "a share in [0, 1)", value)
        for name, share in self.corpus_shares.items():
            require(share >= 0, "training", "corpus_shares", f"a number from 0 on for {name}", share)
        shares = self.perturbations
        for name, share in shares.items():
            known = ", ".join(PERTURBATION_SHARES)
            require(name in PERTURBATION_SHARES, "training", "perturbations", f"some of {known}", name)
            require(share >= 0, "training", "perturbations", f"a share from 0 on for {name}", share)
        require(sum(shares.values()) <= 1, "training", "perturbations", "shares of at most 1 together", dict(shares))


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
        require(0 < self.slope < math.inf, "calibration", "slope", "a positive number", self.slope)
        for label, offset in self.offsets.items():
            require(math.isfinite(offset), "calibration", "offsets", f"a finite number for {label}", offset)


@dataclass(frozen=True)
class About:
    """What people are told of a model.

    Attributes:
        description: A line on what the model is for; empty if there is none.
        language: BCP 47 tag of the language of the texts, such as "en" or "pt-BR"; null if unknown.
        label_names: Names of labels for people, such as {"PER": "Person"}; a label without one is its own.
    """

    description: str = ""
    language: str | None = None
    label_names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if no line of text can show it."""
        object.__setattr__(self, "label_names", dict(sorted(self.label_names.items())))  # order changes no digest
        lines = f"a line of at most {MAX_DESCRIPTION_CHARS} characters"
        is_line = not self.description or _is_line(self.description, MAX_DESCRIPTION_CHARS)
        require(is_line, "about", "description", lines, self.description)
        language = self.language
        is_tag = language is None or (len(language) <= _MAX_LANGUAGE_CHARS and _LANGUAGE.fullmatch(language))
        require(bool(is_tag), "about", "language", "a BCP 47 tag, such as en or pt-BR", language)
        for label, name in self.label_names.items():
            expected = f"1 to {MAX_LABEL_NAME_CHARS} characters in a line for {label}"
            require(_is_line(name, MAX_LABEL_NAME_CHARS), "about", "label_names", expected, name)


@dataclass(frozen=True)
class TextCounts:
    """Counts of the texts in some files.

    Attributes:
        sentences: Sentences as the server splits them.
        tokens: Their tokens.
        unseen_tokens: Tokens without a pretrained vector of their own.
        entities: Entities by label.
    """

    sentences: int
    tokens: int
    unseen_tokens: int
    entities: Mapping[str, int]

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if no files have such counts."""
        object.__setattr__(self, "entities", dict(sorted(self.entities.items())))
        for key in ("sentences", "tokens", "unseen_tokens"):
            require(getattr(self, key) >= 0, "profile", key, "a number from 0 on", getattr(self, key))
        is_part = self.unseen_tokens <= self.tokens
        require(is_part, "profile", "unseen_tokens", f"at most the {self.tokens} tokens", self.unseen_tokens)
        for label, count in self.entities.items():
            require(count >= 0, "profile", "entities", f"a number from 0 on for {label}", count)


@dataclass(frozen=True)
class Profile:
    """What a model was trained on, and what it finds in the dev files: counts to compare those of a server with.

    Attributes:
        train: Counts of the training files, with the entities that are annotated with one label.
        dev: Counts of the dev files, with the entities that the model finds, whatever is annotated there.
        scores: The latter by score: how many have one of up to each of ``SCORE_BOUNDS``.
    """

    train: TextCounts
    dev: TextCounts
    scores: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError, with the key and its value, if *scores* are not those of the entities found in dev."""
        num_bins, num_entities = len(SCORE_BOUNDS), sum(self.dev.entities.values())
        is_histogram = len(self.scores) == num_bins and min(self.scores) >= 0 and sum(self.scores) == num_entities
        expected = f"{num_bins} counts of the {num_entities} entities in dev.entities"
        require(is_histogram, "profile", "scores", expected, self.scores)


@dataclass(frozen=True)
class BundleConfig:
    """All of ``config.json`` but its format and the text rules of its model, which are those of this code.

    Attributes:
        name: The model's default name.
        version: The model's version in TorchServe's form, such as ``"1.0"``.
        digests: SHA-256 of every other file of the bundle, ``"sha256:<hex>"`` by path.
        calibration: Turns marginals into scores; without one, the marginal is the score.
        about: What people are told of the model.
        profile: What the model was trained on; None if unknown.
    """

    name: str
    version: str
    model: ModelConfig
    training: TrainingConfig
    digests: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    calibration: Calibration | None = None
    about: About = field(default_factory=About)
    profile: Profile | None = None

    def __post_init__(self) -> None:
        """Refuse a name or version that an archive cannot have, and what is about other labels.

        Raises:
            ConfigError: names the key and the value it got.
        """
        require(is_model_name(self.name), "config", "name", MODEL_NAME_RULE, self.name)
        require(is_version(self.version), "config", "version", VERSION_RULE, self.version)
        labels = sorted(self.model.labels)
        if self.calibration:
            found = sorted(self.calibration.offsets)
            require(found == labels, "calibration", "offsets", f"one for each of {', '.join(labels)}", found)
        unknown = sorted(self.about.label_names.keys() - set(labels))
        require(not unknown, "about", "label_names", f"labels among {', '.join(labels)}", ", ".join(unknown))

    @classmethod
    def load(cls, path: Path) -> BundleConfig:
        """Read *path*; raises ConfigError if it is missing, unreadable or no JSON object, or a value is wrong."""
        return cls.from_document(read_object(path))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> BundleConfig:
        """The configuration in *document*, parsed from JSON.

        Raises:
            ConfigError: a value is wrong, or the format or the text rules are those of other code; the message says how
                to renew the bundle.
        """
        number = document.get("format")
        if type(number) is not int or number != FORMAT:
            raise ConfigError(f"config.format: expected {FORMAT}, got {number!r}{_RENEW if is_older(number) else ''}")
        keys = ("format", "name", "version", "about", "rules", "model", "training", "calibration", "profile", "digests")
        check_keys("config", document, keys)
        rules = converted("config", "rules", document["rules"], Mapping[str, int])
        if rules != TEXT_RULES:
            raise ConfigError(f"config.rules: expected {_listed(TEXT_RULES)}, got {_listed(rules)}{_RENEW}")
        calibration, profile = document["calibration"], document["profile"]
        return cls(
            name=converted("config", "name", document["name"], str),
            version=converted("config", "version", document["version"], str),
            digests=MappingProxyType(converted("config", "digests", document["digests"], Mapping[str, str])),
            model=dataclass_from(ModelConfig, "model", document["model"]),
            training=dataclass_from(TrainingConfig, "training", document["training"]),
            calibration=None if calibration is None else dataclass_from(Calibration, "calibration", calibration),
            about=dataclass_from(About, "about", document["about"]),
            profile=None if profile is None else dataclass_from(Profile, "profile", profile),
        )

    def to_json(self) -> bytes:
        """The bytes of ``config.json``; the same configuration gives the same bytes."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "about": asdict(self.about),
            "rules": dict(TEXT_RULES),
            "model": asdict(self.model),
            "training": asdict(self.training),
            "calibration": self.calibration and asdict(self.calibration),
            "profile": self.profile and asdict(self.profile),
            "digests": dict(sorted(self.digests.items())),
        }
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def is_older(number: object) -> TypeGuard[int]:
    """True for the number of a format before ``FORMAT``."""
    return type(number) is int and 1 <= number < FORMAT


def _listed(rules: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(rules.items())) or "none"


def _is_line(text: str, max_chars: int) -> bool:
    """True for 1 to *max_chars* characters without blanks at the ends, line breaks or control characters."""
    kinds = {unicodedata.category(char) for char in text}
    return 0 < len(text) <= max_chars and text == text.strip() and not kinds & {"Cc", "Cs", "Zl", "Zp"}
