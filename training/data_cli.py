"""``nerserve data``: what is in annotated files."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from contract.argument_types import FILE, count
from contract.exit_status import ExitStatus, exit_status_help

_CHECK_EXAMPLE = """\
examples:
  nerserve data check train.conll dev.jsonl
  nerserve data check train.conll --label-map labels.json --vectors glove.6B.100d.txt

columns of the table:
  longest      tokens of the longest sentence; one of over 500 is probably several, and gets a warning
  repeated     sentences of 5 words or more that stand earlier in the file, or in a file before it
  no vector    share of the tokens whose word has no vector (with --vectors)
  the labels   entities of each

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this module."""
    data = subparsers.add_parser("data", help="check annotated files", description="Check annotated files.")
    commands = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="count what is in annotated files, and say what is wrong with them",
        description="Count what is in annotated files, and say what is wrong with them, before a training would.",
        epilog=_CHECK_EXAMPLE + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("files", nargs="+", **FILE, help="annotated files, in any format of train's")
    check.add_argument("--label-map", **FILE, help="JSON map of native labels, as train takes it")
    check.add_argument("--vectors", nargs="+", **FILE, help="word vectors, to count words without")
    check.add_argument(
        "--max-words", type=count, default=200_000, metavar="N", help="of the vectors (default: %(default)s)"
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from training.check import check_files
    from training.corpora import read_label_map
    from training.pretrained import pack
    from training.survey import table

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    labels = read_label_map(arguments.label_map) if arguments.label_map else None
    vectors = pack(arguments.vectors, max_words=arguments.max_words) if arguments.vectors else None
    checked = check_files(arguments.files, labels, vectors)
    if arguments.json:
        document: dict[str, Any] = {
            "files": {name: survey.to_dict() for name, survey in checked.surveys.items()},
            "warnings": checked.warnings,
            "errors": checked.errors,
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        if checked.surveys:
            print(table(checked.surveys))
        for kind, messages in (("warning", checked.warnings), ("error", checked.errors)):
            for message in messages:
                print(f"{kind}: {message}", file=sys.stderr)
    return ExitStatus.UNUSABLE if checked.errors else ExitStatus.DONE
