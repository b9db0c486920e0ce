"""``nerserve archive`` and ``nerserve inspect``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from contract.argument_types import DIR, FILE, model_name, version
from contract.exit_status import ExitStatus, exit_status_help

_EXAMPLE = """\
examples:
  nerserve archive models/en
  nerserve archive models/news --model-store /srv/model-store --name news --model-version 2.1

The same bundle gives the same bytes. The archive is verified (complete, loads in a clean process, answers a
canary sentence) before it replaces one of the same name; one that is up to date is not rebuilt.

what is written:
  model-store/en.mar

"""

_INSPECT_EXAMPLE = """\
examples:
  nerserve inspect model-store/en.mar
  nerserve inspect model-store/en.mar --canary
  nerserve inspect model-store/en.mar --json | jq -r .version

"""

_EXITS = exit_status_help(ExitStatus.BAD_MODEL)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this package."""
    build = subparsers.add_parser(
        "archive",
        help="pack a bundle into a TorchServe archive",
        description="Pack a bundle into a self-contained, verified TorchServe archive (.mar).",
        epilog=_EXAMPLE + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle's folder, such as models/en")
    store = "where NAME.mar is written (default: %(default)s)"
    build.add_argument("--model-store", **DIR, default=Path("model-store"), help=store)
    name = "the model's name for TorchServe (default: the bundle's)"
    build.add_argument("--name", type=model_name, metavar="NAME", help=name)
    of_model = "the model's version (default: the bundle's)"
    build.add_argument("--model-version", type=version, metavar="VERSION", help=of_model)
    settings = "YAML with workers, batch size and delays (default: our own)"
    build.add_argument("--model-config", **FILE, help=settings)
    build.add_argument(
        "--keep-rolled-out",
        action="store_true",
        help="do not replace a NAME.mar of another version that `nerserve rollout` or `rollback` put there",
    )
    build.add_argument("--json", action="store_true", help="print JSON")
    build.set_defaults(run=_archive)

    inspect = subparsers.add_parser(
        "inspect",
        help="check an archive and print its metadata",
        description="Check every byte of an archive and print its metadata and files.",
        epilog=_INSPECT_EXAMPLE + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .mar file")
    inspect.add_argument("--canary", action="store_true", help="also load it and send it a canary sentence")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)


def _archive(arguments: argparse.Namespace) -> int:
    from archive.build import build_mar
    from archive.verify import check_mar

    options = {"model_config": arguments.model_config} if arguments.model_config else {}
    path = build_mar(
        arguments.bundle,
        arguments.model_store,
        name=arguments.name,
        version=arguments.model_version,
        keeps_rolled_out=arguments.keep_rolled_out,
        report=lambda step: print(step, file=sys.stderr),
        **options,
    )
    info = check_mar(path)
    if arguments.json:
        print(json.dumps({"path": str(path), **info._asdict()}, indent=2))
    else:
        print(f"{path}: {info.name} {info.version}, {sum(info.files.values()) / 1e6:.1f} MB, {info.sha256}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from archive.verify import check_mar, verify_mar

    info = (verify_mar if arguments.canary else check_mar)(arguments.archive)
    if arguments.json:
        print(json.dumps(info._asdict(), indent=2))
        return 0
    print(f"{info.name} {info.version}\nbundle   {info.digest}\narchive  {info.sha256}")
    for title, key in (("about", "description"), ("language", "language")):
        value = info.about.get(key)
        if value and str(value).isprintable():  # an archive may be a stranger's
            print(f"{title:<9}{value}")
    for name, size in sorted(info.files.items()):
        print(f"{size:12,}  {name}")
    return 0
