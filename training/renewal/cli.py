"""``nerserve renew``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from contract.argument_types import FILE
from contract.exit_status import ExitStatus, exit_status_help

_EXAMPLE = """\
examples:
  nerserve renew models/news --overwrite
  nerserve renew models/news --out models/news-2 --language de --description "German news"
  nerserve renew model-store/news.mar --out models/news      the bundle in an archive
  nerserve evaluate models/news test.conll                   its scores now; metrics.json has those of before

Weights, vectors and calibration stay as they are, to the byte. Where text is cut by other rules than when the model
was trained, entities and scores may differ a little. Archives that were made before carry the code of their time, and
go on answering as they did.

"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "renew",
        help="bring a bundle of an earlier version up to date",
        description="Bring a bundle up to the format and the text rules of this version, and change what it says of\n"
        "itself.",
        epilog=_EXAMPLE + exit_status_help(ExitStatus.BAD_MODEL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="a bundle's folder, such as models/news, or an archive")
    add("--out", type=Path, metavar="DIR", help="where to write the renewed bundle")
    add("--overwrite", action="store_true", help="replace the bundle in --out or, without --out, BUNDLE itself")
    add_about_options(parser)
    settings = "JSON as train takes it; of its settings, those of the section about count"
    add("--config", **FILE, help=settings)
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_renew)


def add_about_options(parser: argparse.ArgumentParser) -> None:
    """Add the options on what people are told of a model, which ``train`` has too."""
    line = "a line on what the model is for"
    parser.add_argument("--description", metavar="TEXT", help=line)
    tag = "BCP 47 tag of the language of its texts, such as en or pt-BR"
    parser.add_argument("--language", metavar="TAG", help=tag)


def _renew(arguments: argparse.Namespace) -> int:
    from training.renewal.renew import renew

    changes = renew(
        arguments.bundle,
        arguments.out,
        overwrite=arguments.overwrite,
        settings=arguments.config,
        description=arguments.description,
        language=arguments.language,
    )
    written = arguments.out or arguments.bundle
    if arguments.json:
        print(json.dumps({"bundle": str(written), "changes": changes}, indent=2, ensure_ascii=False))
        return 0
    print(f"{written}: {'renewed' if changes else 'up to date'}")
    for name, (before, after) in changes.items():
        print(f"  {name}: {_shown(before)} -> {_shown(after)}")
    if any(name.startswith("rules.") for name in changes):
        print(
            "Its texts are cut by other rules than before: entities and scores may differ a little. metrics.json has\n"
            f"the scores of before; nerserve evaluate {written} FILE prints those of now."
        )
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value or "none")
