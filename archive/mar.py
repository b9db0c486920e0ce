"""The file format of our archives: a ``.mar``, which is a zip file, in canonical form.

Entries are uncompressed, sorted and dated 1980, so that the same files give the same bytes, and any other bytes have
been changed.  ``MAR-INF/digests.json`` has the SHA-256 of every other entry.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from archive.errors import ArchiveError
from contract.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version

MANIFEST = "MAR-INF/MANIFEST.json"
DIGESTS = "MAR-INF/digests.json"
ENTRY_POINT = "ner_handler.py"
MODEL_CONFIG = "model-config.yaml"
BUNDLE = "bundle"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16


class MarInfo(NamedTuple):
    """The metadata of an archive.

    ``digest`` identifies the bundle (SHA-256 of its ``config.json``), ``sha256`` the archive file; ``files`` are sizes
    in bytes; ``about`` is what the bundle says of itself, as its ``config.json`` has it, if it has.
    """

    name: str
    version: str
    digest: str
    sha256: str
    files: dict[str, int]
    about: dict[str, Any]


def pack(files: Mapping[str, bytes]) -> bytes:
    """The bytes of the archive of *files* and their digests; the same files give the same bytes."""
    digests = {name: _sha256(content) for name, content in sorted(files.items())}
    return _zip({**files, DIGESTS: (json.dumps(digests, indent=2) + "\n").encode()})


def read(path: Path) -> tuple[MarInfo, dict[str, bytes]]:
    """The metadata and the files of *path*; raises ArchiveError if it is not exactly as :func:`pack` made it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}") from error
    files = _unzip(path, data)
    for name in (MANIFEST, DIGESTS):
        if name not in files:
            raise ArchiveError(f"{path}: no archive of nerserve's: {name} is missing")
    digests = _json_object(path, files, DIGESTS)
    for name in sorted(digests.keys() | files.keys() - {DIGESTS}):
        if name not in files:
            raise ArchiveError(f"{path}: {name} is missing")
        actual = _sha256(files[name])
        if digests.get(name) != actual:
            raise ArchiveError(f"{path}: {name}: expected {digests.get(name, 'no such file')}, got {actual}")
    if _zip(files) != data:
        raise ArchiveError(f"{path}: changed since it was built: its files are right, but not the bytes around them")
    return _info(path, files, data), files


def unpack(path: Path, folder: Path) -> MarInfo:
    """Write the files of *path* below *folder*: the metadata; raises ArchiveError as :func:`read`."""
    info, files = read(path)
    write_files(files, folder)
    return info


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the *files* of an archive below *folder*."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _info(path: Path, files: Mapping[str, bytes], data: bytes) -> MarInfo:
    model = _json_object(path, files, MANIFEST).get("model")
    if not isinstance(model, dict) or not all(isinstance(model.get(key), str) for key in ("modelName", "modelVersion")):
        raise ArchiveError(f"{path}: {MANIFEST}: expected a model with modelName and modelVersion")
    config = f"{BUNDLE}/config.json"
    for name in (ENTRY_POINT, MODEL_CONFIG, config):
        if name not in files:
            raise ArchiveError(f"{path}: no archive of nerserve's: {name} is missing")
    for key, is_valid, expected in (
        ("modelName", is_model_name, MODEL_NAME_RULE),
        ("modelVersion", is_version, VERSION_RULE),
    ):
        if not is_valid(model[key]):
            raise ArchiveError(f"{path}: {MANIFEST}: {key}: expected {expected}, got {model[key]!r}")
    if model.get("handler") != ENTRY_POINT:
        raise ArchiveError(f"{path}: {MANIFEST}: expected handler {ENTRY_POINT}, got {model.get('handler')!r}")
    sizes = {name: len(content) for name, content in files.items()}
    about = _json_object(path, files, config).get("about", {})
    if not isinstance(about, dict):
        raise ArchiveError(f"{path}: {config}: about: expected an object")
    return MarInfo(model["modelName"], model["modelVersion"], _sha256(files[config]), _sha256(data), sizes, about)


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json_object(path: Path, files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        document = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path}: {name}: expected JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArchiveError(f"{path}: {name}: expected a JSON object")
    return document


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = _FILE_MODE
            info.create_system = 3  # Unix, whatever system it is built on
            archive.writestr(info, content)
    return buffer.getvalue()


def _unzip(path: Path, data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise ArchiveError(f"{path}: a name stands twice in it")
            for info in archive.infolist():
                pure = PurePosixPath(info.filename)
                if pure.is_absolute() or ".." in pure.parts:
                    raise ArchiveError(f"{path}: {info.filename!r} leads out of the archive")
            if MANIFEST not in names:
                raise ArchiveError(f"{path}: no TorchServe archive: {MANIFEST} is missing")
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ArchiveError(f"{path}: no archive of nerserve's: its files are compressed")
            if sum(info.file_size for info in archive.infolist()) > len(data):
                raise ArchiveError(f"{path}: damaged: it is shorter than the files that it names")
            return {name: archive.read(name) for name in names}
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{path}: damaged, cut off or no zip file: {error}") from error
    except (EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, ValueError) as error:
        raise ArchiveError(f"{path}: damaged: {error}") from error
