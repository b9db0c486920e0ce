"""A model in this process: texts to entities, with the numbers that the server gives."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import torch

from archive import mar
from contract.entities import Entity, ModelInfo
from contract.limits import LARGEST_MAX_CHARS, RequestLimits
from contract.options import Options
from handler.errors import BundleError, errors_name
from handler.tagger import Tagger

#: The longest text, in code points: what a server may be set to at most.
_LIMITS = RequestLimits(LARGEST_MAX_CHARS)


class Model:
    """Finds the entities of texts; made by :func:`nerserve.load`.

    Attributes:
        name: The model's name.
        version: Its version.
        digest: The SHA-256 over every byte of it, as ``sha256:...``; the same digest gives the same answers anywhere.
        labels: The labels that it knows, in alphabetical order.
    """

    def __init__(self, tagger: Tagger, name: str, version: str) -> None:
        self._tagger = tagger
        self.name = name
        self.version = version
        self.digest = tagger.digest
        self.labels: tuple[str, ...] = tuple(sorted(tagger.config.model.labels))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """See :func:`nerserve.load`."""
        path = Path(path)
        if path.is_file():
            return cls._from_archive(path)
        if not (path / "config.json").is_file():
            came = "has no config.json" if path.is_dir() else "does not exist"
            hint = f"; did you mean {Path('models', path)}?" if Path("models", path, "config.json").is_file() else ""
            raise BundleError(f"{path} {came}; expected the folder of a bundle or an archive (.mar){hint}")
        with errors_name(path):
            tagger = Tagger.load(path)
        return cls(tagger, tagger.config.name, tagger.config.version)

    @classmethod
    def _from_archive(cls, path: Path) -> Model:
        info, files = mar.read(path)
        prefix = f"{mar.BUNDLE}/"
        bundle = {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}
        with tempfile.TemporaryDirectory(prefix="nerserve-") as folder:  # mapped files outlive it
            mar.write_files(bundle, Path(folder))
            with errors_name(path):
                tagger = Tagger.load(Path(folder))
        return cls(tagger, info.name, info.version)

    def __repr__(self) -> str:
        return f"<nerserve.Model {self.name} {self.version}: {', '.join(self.labels)}>"

    @property
    def info(self) -> ModelInfo:
        """Name, version and digest, as replies of the server have them."""
        return ModelInfo(self.name, self.version, self.digest)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is an Iterable[str] too
        self,
        texts: str,
        *,
        labels: Iterable[str] | None = None,
        threshold: float | None = None,
        context: str | None = None,
    ) -> list[Entity]: ...

    @overload
    def predict(
        self,
        texts: Iterable[str],
        *,
        labels: Iterable[str] | None = None,
        threshold: float | None = None,
        context: str | None = None,
    ) -> list[list[Entity]]: ...

    def predict(
        self,
        texts: str | Iterable[str],
        *,
        labels: Iterable[str] | None = None,
        threshold: float | None = None,
        context: str | None = None,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of a text, in text order; of several texts, a list for each.

        An entity is a named tuple ``Entity(text, label, start, end, score)`` with ``_asdict()``; ``start`` and ``end``
        are half-open code-point offsets.  Several texts at once take less time each, and have the same numbers.
        *labels* keeps the entities of these labels alone, *threshold* those with at least this score.  With the
        *context* ``"document"``, the default, what is known of a name elsewhere in the same text counts; with
        ``"sentence"``, each sentence is read by itself.

        Raises:
            InvalidOptionError: the model does not have one of *labels*, *threshold* is not from 0 to 1, or *context* is
                another.
            TextTooLongError: a text has more than 1,000,000 code points.
            TypeError: a text is no string.
        """
        if isinstance(texts, bytes | bytearray) or not isinstance(texts, Iterable):
            raise TypeError(f"expected a string, or several, got {type(texts).__name__}")
        given = [texts] if isinstance(texts, str) else list(texts)
        for i, text in enumerate(given):
            if not isinstance(text, str):
                raise TypeError(f"expected a string for text {i}, got {type(text).__name__}")
            _LIMITS.check_text(text)
        found = self.tag(given, self.options(labels, threshold, context))
        return found[0] if isinstance(texts, str) else found

    def options(self, labels: Iterable[str] | None, threshold: float | None, context: str | None) -> Options:
        """What the API makes of the same options; raises InvalidOptionError."""
        given = {"threshold": threshold, "context": context}
        values: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if labels is not None:
            values["labels"] = [labels] if isinstance(labels, str) else list(labels)
        return Options.from_json(values, self.labels)

    def tag(self, texts: Sequence[str], options: Options) -> list[list[Entity]]:
        """The entities of each of *texts* that *options* ask for, without a check."""
        with _one_thread():
            tagged = self._tagger.tag_texts(texts, contexts=[options.context] * len(texts))
            return [options.keep(one.entities) for one in tagged]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch's, as workers have it: sums of more threads have other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
