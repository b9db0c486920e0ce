"""Builds a ``.mar`` from a bundle: manifest by torch-model-archiver, canonical zip, verified, moved into place."""

from __future__ import annotations

import fcntl
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import contract
import handler
from archive import mar
from archive.errors import ArchiveError, UnusableError
from archive.verify import verify_mar
from handler.config import BundleConfig
from handler.digests import CONFIG_FILE, check_digests, file_digest
from handler.errors import BundleError

_PACKAGES = tuple(Path(package.__path__[0]) for package in (contract, handler))
_MODEL_CONFIG = Path(__file__).with_name(mar.MODEL_CONFIG)

_BUILDING = ".building-"

#: Replaces torch-model-archiver's current time, for reproducible builds.
_CREATED_ON = "01/01/1980 00:00:00"


def build_mar(
    bundle: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    model_config: Path = _MODEL_CONFIG,
    keeps_rolled_out: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Path:
    """Build ``out/NAME.mar`` from the folder *bundle*, verify it, and return its path.

    *name* and *version* default to the bundle's; *report* is called with each step.  An archive that is up to date is
    not replaced, nor, with *keeps_rolled_out*, one that a rollout put there: another version, of which there is an
    identical ``NAME-VERSION.mar`` beside it.

    Raises:
        UnusableError: *model_config* cannot be read, or *out* not be written to.
        ArchiveError: the bundle is missing or damaged, *name* or *version* is invalid, or the model in the archive does
            not answer.
    """
    try:
        config = BundleConfig.load(bundle / CONFIG_FILE)
        config = replace(config, name=name or config.name, version=version or config.version)
        check_digests(bundle, config)
        files = _files(bundle, config, model_config)
    except BundleError as error:
        raise ArchiveError(f"{bundle}: {error}") from error
    except OSError as error:
        kind = UnusableError if error.filename == str(model_config) else ArchiveError
        raise kind(f"{error.filename}: cannot be read: {error.strerror}") from error
    name, version = config.name, config.version
    target = out / f"{name}.mar"
    if _is_current(target, files, name, version):
        report(f"{target} is up to date")
        return target
    if keeps_rolled_out and (rolled_out := _rolled_out_version(target, name)) not in (None, version):
        report(f"{target} stays as it was rolled out, version {rolled_out}; {bundle} is version {version}")
        return target
    if target.exists():
        report(_replaced(target, version, file_digest(bundle / CONFIG_FILE)))
    report(f"packing {bundle}")
    with _scratch(out) as scratch:
        manifest = _manifest(scratch, files, name, version)
        built = scratch / target.name
        built.write_bytes(mar.pack({**files, mar.MANIFEST: manifest}))
        report("verifying it in a clean process")
        verify_mar(built)
        built.replace(target)
    return target


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder in *out*, of which there is one at a time; what a build that was killed has left is removed.

    Beside the target, to move it into place by a rename; hidden, so that TorchServe sees no partial archive.
    """
    with ExitStack() as cleanup:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
            cleanup.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in out.glob(f"{_BUILDING}*"):
                shutil.rmtree(left, ignore_errors=True)
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix=_BUILDING, dir=out))
        except OSError as error:
            raise UnusableError(f"{out}: expected a folder to write to: {error.strerror}") from error
        yield Path(folder)


def _files(bundle: Path, config: BundleConfig, model_config: Path) -> dict[str, bytes]:
    """All files of the archive except those in MAR-INF."""
    prose = [name for name in ("metrics.json", "MODEL_CARD.md") if (bundle / name).is_file()]
    files = {f"{mar.BUNDLE}/{name}": (bundle / name).read_bytes() for name in (CONFIG_FILE, *config.digests, *prose)}
    for package in _PACKAGES:
        for path in package.rglob("*.py"):
            files[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    # TorchServe imports the entry point from the root of the archive; a second copy might be imported instead.
    files[mar.ENTRY_POINT] = files.pop(f"handler/{mar.ENTRY_POINT}")
    files[mar.MODEL_CONFIG] = model_config.read_bytes()
    return files


def _is_current(target: Path, files: dict[str, bytes], name: str, version: str) -> bool:
    if not target.exists():
        return False
    try:
        info, present = mar.read(target)
    except ArchiveError:
        return False  # damaged: built anew
    inside = {entry: content for entry, content in present.items() if not entry.startswith("MAR-INF/")}
    return (info.name, info.version) == (name, version) and inside == files


def _replaced(target: Path, version: str, digest: str) -> str:
    """What *target* holds, which a build of *version* of the bundle with *digest* replaces, in words."""
    try:
        old = mar.read(target)[0]
    except ArchiveError:
        return f"{target}: replaces a damaged archive"
    if old.version != version:
        return f"{target}: replaces version {old.version}"
    if old.digest == digest:
        return f"{target}: replaces version {version} of the same bundle, with other code, settings or texts beside it"
    return (
        f"warning: {target}: replaces another model of the same version, {version}: {old.digest} by {digest};"
        " a rollout needs another version, --model-version"
    )


def _rolled_out_version(target: Path, name: str) -> str | None:
    """The version of *target* if a rollout put it there, which leaves an identical ``NAME-VERSION.mar``; else None."""
    try:
        version = mar.read(target)[0].version
        is_rolled_out = filecmp.cmp(target, target.with_name(f"{name}-{version}.mar"), shallow=False)
    except (ArchiveError, OSError):
        return None
    return version if is_rolled_out else None


def _manifest(scratch: Path, files: dict[str, bytes], name: str, version: str) -> bytes:
    """The manifest that torch-model-archiver writes for *files*, with a fixed time."""
    staged, exported = scratch / "staged", scratch / "exported"
    for folder in (staged, exported, scratch / "tmp"):
        folder.mkdir()
    for entry, content in files.items():
        path = staged / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    command = [
        *(sys.executable, "-m", "model_archiver.model_packaging"),
        *("--model-name", name, "--version", version, "--archive-format", "no-archive"),
        *("--handler", str(staged / mar.ENTRY_POINT), "--config-file", str(staged / mar.MODEL_CONFIG)),
        *("--export-path", str(exported)),
    ]
    # It deletes TMPDIR/NAME and uses it as scratch space: give it a TMPDIR of its own.
    environment = {**os.environ, "TMPDIR": str(scratch / "tmp")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    path = exported / name / mar.MANIFEST
    if done.returncode or not path.exists():
        raise ArchiveError(f"torch-model-archiver failed with exit code {done.returncode}: {done.stderr.strip()}")
    manifest = json.loads(path.read_bytes())
    return (json.dumps({**manifest, "createdOn": _CREATED_ON}, indent=2) + "\n").encode()
