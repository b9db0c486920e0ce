"""``nerserve archive`` and ``nerserve inspect``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

_EXAMPLE = """\
examples:
  nerserve archive models/en
  nerserve archive models/news --out /srv/model-store --name news --version 2.1

The same bundle gives the same bytes. The archive is verified (complete, loads in a clean process, answers a
canary sentence) before it replaces one of the same name; one that is up to date is not rebuilt.
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this package."""
    build = subparsers.add_parser(
        "archive",
        help="pack a bundle into a TorchServe archive",
        description="Pack a bundle into a self-contained, verified TorchServe archive (.mar).",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle's folder, such as models/en")
    build.add_argument("--out", type=Path, default=Path("model-store"), metavar="DIR", help="(%(default)s)")
    build.add_argument("--name", metavar="NAME", help="the model's name for TorchServe (the bundle's)")
    build.add_argument("--version", dest="model_version", metavar="V", help="the model's version (the bundle's)")
    build.add_argument("--model-config", type=Path, metavar="FILE", help="workers, batch size, delays (our own)")
    build.add_argument(
        "--keep-rolled-out",
        action="store_true",
        help="do not replace a NAME.mar of another version that `nerserve rollout` or `rollback` put there",
    )
    build.set_defaults(run=_archive)

    inspect = subparsers.add_parser(
        "inspect",
        help="check an archive and print its metadata",
        description="Check every byte of an archive and print its metadata and files.",
    )
    inspect.add_argument("archive", type=Path, metavar="ARCHIVE")
    inspect.add_argument("--canary", action="store_true", help="also load it and send it a canary sentence")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)


def _archive(arguments: argparse.Namespace) -> int:
    from archive.build import build_mar
    from archive.errors import ArchiveError
    from archive.verify import check_mar

    options = {"model_config": arguments.model_config} if arguments.model_config else {}
    try:
        path = build_mar(
            arguments.bundle,
            arguments.out,
            name=arguments.name,
            version=arguments.model_version,
            keeps_rolled_out=arguments.keep_rolled_out,
            report=lambda step: print(step, file=sys.stderr),
            **options,
        )
    except ArchiveError as error:
        print(f"nerserve archive: {error}", file=sys.stderr)
        return 1
    info = check_mar(path)
    print(f"{path}: {info.name} {info.version}, {sum(info.files.values()) / 1e6:.1f} MB, {info.sha256}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from archive.errors import ArchiveError
    from archive.verify import check_mar, verify_mar

    try:
        info = (verify_mar if arguments.canary else check_mar)(arguments.archive)
    except ArchiveError as error:
        print(f"nerserve inspect: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(info._asdict(), indent=2))
        return 0
    print(f"{info.name} {info.version}\nbundle   {info.digest}\narchive  {info.sha256}")
    for name, size in sorted(info.files.items()):
        print(f"{size:12,}  {name}")
    return 0
