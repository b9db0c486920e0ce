"""A bundle's folder <-> :class:`Bundle`; inconsistent files are errors.

::

    config.json     handler/config.py: what the model is, how it was trained, digests of the next three
    vocab.json      {"chars": [...]}: the characters that have an embedding
    weights.npz     float32 arrays by parameter name, without pickles
    vectors/        memory-mapped arrays, see handler/vectors.py and handler/subwords.py
    metrics.json, MODEL_CARD.md, ...   documentation, without a digest as it may be edited

The bundle's digest is the SHA-256 of ``config.json``, which has the digests of
the other files: one string for every byte of the model.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.overrides import TorchFunctionMode

from handler.config import BundleConfig, ModelConfig
from handler.digests import (
    CONFIG_FILE,
    VOCAB_FILE,
    WEIGHTS_FILE,
    check_digests,
    file_digest,
    files_of,
    put_in_place,
)
from handler.errors import BundleError
from handler.labels import tag_rules, tag_set
from handler.network.features import CASES, FeatureEncoder
from handler.network.model import BiLSTMCRF
from handler.vectors import WordVectors


@dataclass(frozen=True)
class Bundle:
    """A model with all that is needed to use it.

    Attributes:
        config: The content of ``config.json``.
        chars: The characters that have an embedding, in id order.
        vectors: The pretrained word vectors.
        model: The network, in evaluation mode after :meth:`load`.
        digest: ``"sha256:<hex>"`` of ``config.json``; empty for a bundle that was never saved.
    """

    config: BundleConfig
    chars: Sequence[str]
    vectors: WordVectors
    model: BiLSTMCRF
    digest: str = ""

    @classmethod
    def new(cls, config: BundleConfig, chars: Sequence[str], vectors: WordVectors) -> Bundle:
        """An untrained bundle with the network of *config*; raises BundleError if *vectors* have another width."""
        if vectors.dim != config.model.word_dim:
            raise BundleError(f"vectors/table.npy: expected width {config.model.word_dim}, got {vectors.dim}")
        return cls(config, chars, vectors, _new_network(config, chars))

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read and check the bundle in *folder*; raises BundleError, naming the file and the parameter."""
        config = BundleConfig.load(folder / CONFIG_FILE)
        check_digests(folder, config)
        chars = _load_chars(folder / VOCAB_FILE)
        # Shapes without memory: nothing is allocated before the files are as large.
        with torch.device("meta"), _NoInitialWeights():
            shapes = {name: tuple(tensor.shape) for name, tensor in _new_network(config, chars).state_dict().items()}
        weights = _load_weights(folder / WEIGHTS_FILE, shapes)
        vectors = WordVectors.load(folder / "vectors")
        bundle = cls.new(config, chars, vectors)
        bundle.model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        bundle.model.eval()
        return replace(bundle, digest=file_digest(folder / CONFIG_FILE))

    def save(self, folder: Path, extras: Mapping[str, bytes] | None = None) -> Bundle:
        """Write the bundle to *folder* atomically; returns the bundle with its digests.

        *extras* are further files by name, such as ``metrics.json``, without a digest.  The same bundle gives the same
        bytes.

        Raises:
            NotReplacedError: *folder* has content that is no bundle; it is not changed.
        """
        with put_in_place(folder) as staging:
            (staging / "vectors").mkdir()
            vocab = json.dumps({"chars": list(self.chars)}, ensure_ascii=False, indent=0) + "\n"
            (staging / VOCAB_FILE).write_bytes(vocab.encode())
            weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in self.model.state_dict().items()}
            np.savez(staging / WEIGHTS_FILE, **weights)
            self.vectors.save(staging / "vectors")
            digests = {path: file_digest(staging / path) for path in files_of(staging)}
            config = replace(self.config, digests=digests)
            (staging / CONFIG_FILE).write_bytes(config.to_json())
            for name, content in (extras or {}).items():
                (staging / name).write_bytes(content)
            digest = file_digest(staging / CONFIG_FILE)
        return replace(self, config=config, digest=digest)

    def encoder(self) -> FeatureEncoder:
        """The feature encoder of this bundle's network."""
        return FeatureEncoder(vectors=self.vectors, chars=self.chars, max_word_chars=self.config.model.max_word_chars)


class _NoInitialWeights(TorchFunctionMode):
    """Leaves embeddings as they are: to fill them on the meta device PyTorch imports its compiler, for 0.8 s."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What *func* returns; the tensor, if it would fill that with random numbers."""
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is torch.nn.init.normal_ else func(*args, **kwargs)


def tags_of(config: ModelConfig) -> list[str]:
    """The model's tags in id order."""
    return tag_set(config.labels, config.scheme)


def _load_chars(path: Path) -> list[str]:
    try:
        vocab = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path.name}: expected JSON: {error}") from error
    if not isinstance(vocab, dict) or vocab.keys() != {"chars"}:
        raise BundleError(f'{path.name}: expected an object with the one key "chars"')
    chars = vocab["chars"]
    if not isinstance(chars, list) or not all(isinstance(char, str) and len(char) == 1 for char in chars):
        raise BundleError(f"{path.name}: expected a list of single characters under chars")
    if len(set(chars)) != len(chars):
        raise BundleError(f"{path.name}: expected distinct characters under chars")
    return chars


def _new_network(config: BundleConfig, chars: Sequence[str]) -> BiLSTMCRF:
    model, tags = config.model, tags_of(config.model)
    return BiLSTMCRF(
        num_chars=FeatureEncoder.num_chars(chars),
        num_cases=len(CASES),
        num_tags=len(tags),
        word_dim=model.word_dim,
        char_dim=model.char_dim,
        char_filters=model.char_filters,
        char_kernel=model.char_kernel,
        case_dim=model.case_dim,
        hidden_dim=model.hidden_dim,
        dropout=config.training.dropout,
        word_dropout=config.training.word_dropout,
        rules=tag_rules(tags, model.scheme),
    )


def _load_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays in *path* by name; raises BundleError unless they have *shapes* and are finite."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = _read_weights(path.name, archive, path.stat().st_size, shapes)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path.name}: expected an .npz of plain arrays: {error}") from error
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{path.name}: {name}: expected finite weights, got NaN or infinity")
    return found


def _read_weights(
    file: str, archive: zipfile.ZipFile, size: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays in *archive*, an .npz of *size* bytes; shapes, types and sizes are compared before memory is taken."""
    infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in sorted(shapes.keys() ^ infos.keys()):
        raise BundleError(f"{file}: {name}: {'missing' if name in shapes else 'no parameter of this model'}")
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos.values()):
        raise BundleError(f"{file}: expected arrays as they are, got compressed ones")
    if sum(info.file_size for info in infos.values()) > size:
        raise BundleError(f"{file}: expected arrays within its {size} bytes, got more in its directory")
    found = {}
    for name, expected in shapes.items():
        info = infos[name]
        with archive.open(info) as member:
            np.lib.format.read_magic(member)
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)  # numpy's version for plain dtypes
            if shape != expected or dtype != np.float32:
                raise BundleError(f"{file}: {name}: expected float32 of shape {expected}, got {dtype} of {shape}")
            num_bytes = info.file_size - member.tell()
            if num_bytes != 4 * math.prod(expected):
                raise BundleError(f"{file}: {name}: expected {4 * math.prod(expected)} bytes, got {num_bytes}")
            member.seek(0)
            found[name] = np.lib.format.read_array(member, allow_pickle=False)
    return found
