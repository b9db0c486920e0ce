"""``nerserve data``: what is in annotated files, and how to make others of them."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from contract.argument_types import FILE, count, label, listed
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

_CONVERT_EXAMPLE = """\
examples:
  nerserve data convert doccano.jsonl --out train.conll
  nerserve data convert NER-de-train.tsv --tag-column 3 --out train.conll      outer or inner names of GermEval
  nerserve data convert hf.jsonl --tag-names O,B-PER,I-PER --out train.conll   ner_tags of Hugging Face

CoNLL columns are a word, a tab and its BIO tag on each line; JSON lines a text and its entities.
FILE is read by what it holds: CoNLL columns, comma-separated ones with a header, JSON of nerserve, doccano, Prodigy,
Label Studio, spaCy or Hugging Face, or a .spacy file.

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this module."""
    data = subparsers.add_parser(
        "data", help="check and convert annotated files", description="Check and convert annotated files."
    )
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
    _add_convert(commands)


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = commands.add_parser(
        "convert",
        help="write an annotated file as CoNLL columns or JSON lines",
        description="Write an annotated file as CoNLL columns or JSON lines, and say what could not be kept.",
        epilog=_CONVERT_EXAMPLE + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = convert.add_argument
    add("file", **FILE, help="an annotated file, in any format of train's")
    add("--out", **FILE, required=True, help="the file to write")
    add("--format", choices=("conll", "jsonl"), help="what to write, if --out does not end in .conll or .jsonl")
    add("--label-map", **FILE, help="JSON map of native labels, as train takes it")
    add("--tag-column", type=count, metavar="N", help="of CoNLL columns, the one with the tags, counted from 1")
    names = "names of tags that are numbers, in order, with commas: O,B-PER,I-PER"
    add("--tag-names", type=listed(label), default=[], metavar="TAGS", help=names)
    add("--overwrite", action="store_true", help="replace the file of --out")
    add("--json", action="store_true", help="print JSON")
    convert.set_defaults(run=_convert)


def _check(arguments: argparse.Namespace) -> int:
    from training.check import check_files
    from training.corpora import read_label_map
    from training.survey import table
    from training.vectors.pretrained import pack

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


def _convert(arguments: argparse.Namespace) -> int:
    from training.corpora import read_label_map
    from training.corpora.convert import convert, output_format

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    written_as = arguments.format or output_format(arguments.out)
    converted = convert(
        arguments.file,
        arguments.out,
        written_as,
        read_label_map(arguments.label_map) if arguments.label_map else None,
        tag_column=arguments.tag_column,
        tag_names=arguments.tag_names,
        overwrite=arguments.overwrite,
    )
    kind = {"conll": "sentences", "jsonl": "texts"}[written_as]
    if arguments.json:
        counts = {kind: converted.num_written, "entities": converted.num_entities}
        print(json.dumps({"out": str(arguments.out), **counts, "not_kept": converted.not_kept}, indent=2))
    else:
        print(f"{arguments.out}: {converted.num_written} {kind} with {converted.num_entities} entities")
        for lost in converted.not_kept:
            print(f"not kept: {lost}", file=sys.stderr)
    return ExitStatus.DONE
