"""A bundle of an earlier format, or of other text rules, renewed: another ``config.json`` for the same model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from archive import mar
from handler.config import FORMAT, BundleConfig
from handler.digests import CONFIG_FILE, check_digests, file_digest, put_in_place
from handler.errors import ConfigError, errors_name
from handler.fields import read_object
from handler.text.rules import TEXT_RULES
from training.errors import InputError, RunFailedError
from training.output import CARD_FILE, METRICS_FILE, check_output, check_room, write_file
from training.renewal.old_formats import renewed, rules_of
from training.settings import read_about

#: What is different, by name, before and after.
Changes = Mapping[str, tuple[object, object]]


def renew(
    source: Path,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    settings: Path | None = None,
    description: str | None = None,
    language: str | None = None,
) -> Changes:
    """Write the bundle *source*, a folder or an archive, in the format and for the text rules of this code to *out*.

    By default that is *source* itself.  What people are told of it becomes what the file *settings* has, *description*
    and *language*.  The model is the same.  A bundle that is up to date already is not written in its own place.

    Raises:
        BundleError, ArchiveError: *source* is damaged, or none.
        InputError: *out* is missing, or a setting cannot be used.
        RunError: *out* holds something else, or a bundle and *overwrite* is false.
        RunFailedError: *out* cannot be written.
    """
    in_place = out is None or out.resolve() == source.resolve()
    if in_place and source.is_file():
        raise InputError(f"--out: expected a folder for the bundle in the archive {source}")
    if in_place and not overwrite:
        raise InputError(f"--out: expected another folder, or --overwrite to renew {source} where it is")
    with _unpacked(source) as (folder, archive), errors_name(source):
        document = read_object(folder / CONFIG_FILE)
        before = renewed(document)
        if archive:
            before = replace(before, name=archive.name, version=archive.version)
        check_digests(folder, before)
        old_digest = file_digest(folder / CONFIG_FILE)
        about = read_about(settings, before.about, description=description, language=language)
        try:
            after = replace(before, about=about)
        except ConfigError as error:
            raise InputError(str(error)) from error
        if out is None or in_place:
            if after.to_json() != (folder / CONFIG_FILE).read_bytes():
                write_file(folder / CONFIG_FILE, after.to_json())  # the other files are as they were
        else:
            _write(after, folder, out, overwrite=overwrite)
        new_digest = file_digest((out or folder) / CONFIG_FILE)
    rules = rules_of(document)
    changes: dict[str, tuple[object, object]] = {
        "format": (document["format"], FORMAT),
        **{f"rules.{name}": (rules.get(name), TEXT_RULES.get(name)) for name in sorted({*rules, *TEXT_RULES})},
        **{f"about.{key}": (value, asdict(after.about)[key]) for key, value in asdict(before.about).items()},
        "digest": (old_digest, new_digest),
    }
    return {name: (old, new) for name, (old, new) in changes.items() if old != new}


@contextmanager
def _unpacked(source: Path) -> Iterator[tuple[Path, mar.MarInfo | None]]:
    """The folder of the bundle *source*; if that is an archive, a temporary one, and its metadata."""
    if not source.is_file():
        yield source, None
        return
    with tempfile.TemporaryDirectory(prefix="nerserve-") as folder:
        info = mar.unpack(source, Path(folder))
        yield Path(folder, mar.BUNDLE), info


def _write(config: BundleConfig, folder: Path, out: Path, *, overwrite: bool) -> None:
    """Write the bundle in *folder* with *config* to *out*, whole or not at all."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"--out {out}: expected a folder that is not within the bundle")
    check_output(out, None, overwrite=overwrite)
    files = [*config.digests, *(name for name in (METRICS_FILE, CARD_FILE) if (folder / name).is_file())]
    check_room({out: sum((folder / name).stat().st_size for name in files)})
    try:
        with put_in_place(out) as staging:
            for name in files:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, staging / name)
            (staging / CONFIG_FILE).write_bytes(config.to_json())
    except OSError as error:
        raise RunFailedError(f"{out}: cannot be written: {error.strerror}") from error
