"""A bundle to a ``.mar``: staged by torch-model-archiver, zipped in canonical form, verified, put in place."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import contract
import handler
from archive import mar
from archive.errors import ArchiveError
from archive.verify import verify_mar
from handler.config import BundleConfig
from handler.digests import CONFIG_FILE, check_digests
from handler.errors import BundleError

_PACKAGES = tuple(Path(package.__path__[0]) for package in (contract, handler))
_MODEL_CONFIG = Path(__file__).with_name(mar.MODEL_CONFIG)

#: torch-model-archiver writes the time of day; nothing of ours may depend on it.
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
    """The path of ``out/NAME.mar``, built from the folder *bundle* and verified before it stands there.

    *name* and *version* are the bundle's own unless given; *report* hears of
    each step.  A file of that name that already holds the same is left alone,
    and with *keeps_rolled_out* one that a rollout has put there, too: another
    version, of which ``NAME-VERSION.mar`` stands beside it.

    Raises:
        ArchiveError: the bundle does not fit together, a file cannot be read or written, *name* or *version* is none,
            or what was built does not answer.
    """
    try:
        config = BundleConfig.load(bundle / CONFIG_FILE)
        config = replace(config, name=name or config.name, version=version or config.version)
        check_digests(bundle, config)
        files = _files(bundle, config, model_config)
    except BundleError as error:
        raise ArchiveError(f"{bundle}: {error}") from error
    except OSError as error:
        raise ArchiveError(f"{error.filename}: cannot be read: {error.strerror}") from error
    name, version = config.name, config.version
    target = out / f"{name}.mar"
    if _is_current(target, files, name, version):
        report(f"{target} is up to date")
        return target
    if keeps_rolled_out and (rolled_out := _rolled_out_version(target, name)) not in (None, version):
        report(f"{target} stays as it was rolled out, version {rolled_out}; {bundle} is version {version}")
        return target
    report(f"packing {bundle}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that putting it in place is one rename; hidden, so that TorchServe sees no half archive.
        building = tempfile.TemporaryDirectory(prefix=".building-", dir=out)
    except OSError as error:
        raise ArchiveError(f"{out}: expected a folder to write to: {error.strerror}") from error
    with building as folder:
        scratch = Path(folder)
        manifest = _manifest(scratch, files, name, version)
        built = scratch / target.name
        built.write_bytes(mar.pack({**files, mar.MANIFEST: manifest}))
        report("verifying it in a clean process")
        verify_mar(built)
        built.replace(target)
    return target


def _files(bundle: Path, config: BundleConfig, model_config: Path) -> dict[str, bytes]:
    """All entries of the archive but the ones in MAR-INF."""
    prose = [name for name in ("metrics.json", "MODEL_CARD.md") if (bundle / name).is_file()]
    files = {f"{mar.BUNDLE}/{name}": (bundle / name).read_bytes() for name in (CONFIG_FILE, *config.digests, *prose)}
    for package in _PACKAGES:
        for path in package.rglob("*.py"):
            files[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    # TorchServe imports the entry point from the root of the archive; a second copy could be imported by mistake.
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


def _rolled_out_version(target: Path, name: str) -> str | None:
    """The version in *target* if a rollout has put it there, and left the same file under the version's own name."""
    try:
        version = mar.read(target)[0].version
        is_rolled_out = filecmp.cmp(target, target.with_name(f"{name}-{version}.mar"), shallow=False)
    except (ArchiveError, OSError):
        return None
    return version if is_rolled_out else None


def _manifest(scratch: Path, files: dict[str, bytes], name: str, version: str) -> bytes:
    """The manifest that torch-model-archiver writes for *files*, without the time of day."""
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
    # It uses TMPDIR/NAME as scratch space and deletes what it finds there: give it a TMPDIR of its own.
    environment = {**os.environ, "TMPDIR": str(scratch / "tmp")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    path = exported / name / mar.MANIFEST
    if done.returncode or not path.exists():
        raise ArchiveError(f"torch-model-archiver failed with exit code {done.returncode}: {done.stderr.strip()}")
    manifest = json.loads(path.read_bytes())
    return (json.dumps({**manifest, "createdOn": _CREATED_ON}, indent=2) + "\n").encode()
