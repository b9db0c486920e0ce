"""``nerserve predict``: the entities of texts, without a server or from one."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from contract.argument_types import FILE, label, listed, server_url, share
from contract.exit_status import ExitStatus, exit_status_help
from contract.limits import RequestLimits
from contract.names import is_model_name
from contract.options import CONTEXTS, DEFAULT, Options
from ops.operate.cli import add_state_dir

if TYPE_CHECKING:
    from nerserve.answers import Answer, Answerer
    from nerserve.inputs import Input

_FORMATS: Final = ("table", "jsonl", "conll", "displacy")

#: Of what is answered at once.
MAX_TEXTS: Final = 32
MAX_CHARS: Final = 20_000

_EPILOG = """\
examples:
  nerserve predict "Kofi Annan was born in Kumasi."
  nerserve predict notes.txt --labels PER,ORG --threshold 0.5
  cat titles.txt | nerserve predict --lines --format jsonl > entities.jsonl
  nerserve predict "Kofi Annan was born in Kumasi." --model model-store/en.mar
  nerserve predict notes.txt --url http://127.0.0.1:8000                        ask a site that runs
  nerserve predict notes.txt --format displacy > notes.json

An argument is a file if there is one of that name, else it is the text; - and no argument are standard input.  A file
is one text in UTF-8, or with --lines one text a line.

what is printed, by --format:
  table      text, label, score and place (code points) of each entity
  jsonl      the API's reply to each text on a line, {"model": ..., "entities": [...]} or {"error": ...}
  conll      a token and its BIO tag on a line, an empty line after each sentence
  displacy   a list for spacy.displacy.render(json.load(file), style="ent", manual=True)

A text that cannot be used, because it is too long (NERSERVE_MAX_CHARS) or no UTF-8, gets an error on stderr, the others
are answered, and the exit status is 2.

"""

_EXITS = exit_status_help(
    ExitStatus.BAD_MODEL, ExitStatus.UNKNOWN_MODEL, ExitStatus.REFUSED, ExitStatus.NOT_IN_TIME, ExitStatus.NO_REPLY
)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "predict",
        help="find the entities of texts, without a server",
        description="Find the entities of texts with a model in this process, or ask a server.",
        epilog=_EPILOG + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT|FILE", help="a text, or a file that holds one (default: standard input)")
    add("--lines", action="store_true", help="each line of a file or of standard input is a text")
    form = "what is printed, see below (default: %(default)s)"
    add("--format", choices=_FORMATS, default="table", help=form)
    add("--json", dest="format", action="store_const", const="jsonl", help="the same as --format jsonl")
    add("--labels", type=listed(label), metavar="LABEL[,LABEL...]", help="only entities with these labels")
    add("--threshold", type=share, metavar="SHARE", help="only entities with at least this score, from 0 to 1")
    context = "document: a name elsewhere in the same text counts (default); sentence: each sentence by itself"
    add("--context", choices=CONTEXTS, help=context)
    model = "a bundle's folder or an archive (default: models/en); with --url, the model's name there"
    add("--model", metavar="BUNDLE|ARCHIVE", help=model)
    add = parser.add_argument_group("a server").add_argument
    url = "ask this site or inference port, such as http://127.0.0.1:8000"
    add("--url", dest="inference", type=server_url, metavar="URL", help=url)
    add("--inference-key-file", **FILE, help="a file with the inference key")
    add_state_dir(add, "of the nerserve up whose key is used")
    add("--ca", **FILE, help="certificates to trust behind https (PEM)")
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from nerserve.formats import FORMATS
    from nerserve.inputs import check_arguments, in_chunks, read_inputs

    stdin = None if sys.stdin is None or (sys.stdin.isatty() and not options.texts) else sys.stdin.buffer
    check_arguments(options.texts, has_stdin=stdin is not None)
    answerer = _remote(options) if options.inference else _local(options)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    writer = FORMATS[options.format](sys.stdout, has_several=options.lines or len(options.texts) > 1)
    inputs = read_inputs(options.texts, stdin or io.BytesIO(), has_lines=options.lines)
    num_done = num_failed = 0
    with _counter() as show:
        for chunk in in_chunks(inputs, max_texts=MAX_TEXTS, max_chars=MAX_CHARS):
            for one, answer in zip(chunk, _answers(answerer, chunk), strict=True):
                if answer.failure is not None:
                    show("")
                    print(f"nerserve: {one.name or 'the text'}: {answer.failure.message}", file=sys.stderr)
                    num_failed += 1
                writer.write(one, answer)
            sys.stdout.flush()
            num_done += len(chunk)
            show(f"{num_done:,} texts")
    writer.close()
    return ExitStatus.UNUSABLE if num_failed else ExitStatus.DONE


def _answers(answerer: Answerer, chunk: Sequence[Input]) -> Iterator[Answer]:
    """An answer to each of *chunk*; *answerer* is asked about those that can be read."""
    from nerserve.answers import Answer

    answers = iter(answerer.answer([one.text for one in chunk if one.error is None]))
    for one in chunk:
        yield next(answers) if one.error is None else Answer.of_error(one.error)


def _local(options: argparse.Namespace) -> Answerer:
    from nerserve.answers import Local
    from nerserve.inputs import InputError

    gc.disable()  # collections take a tenth of the time in which torch is imported,
    try:
        from nerserve.model import Model

        model = Model.load(options.model or "models/en")
    finally:
        gc.enable()
    gc.freeze()  # and another tenth at the end of the process, if they do not skip it
    if unknown := [name for name in options.labels or () if name not in model.labels]:
        raise InputError(f"--labels: expected some of {', '.join(model.labels)}, got {unknown[0]!r}")
    limits = RequestLimits.from_environment(os.environ)
    return Local(model, limits, model.options(options.labels, options.threshold, options.context))


def _remote(options: argparse.Namespace) -> Answerer:
    from nerserve.inputs import InputError
    from nerserve.remote import Remote
    from ops.operate.keys import KeySource

    if options.model is not None and not is_model_name(options.model):
        raise InputError(f"--model: expected the name of a model, as --url is given, got {options.model!r}")
    if options.ca is not None and not options.ca.is_file():
        raise InputError(f"{options.ca} does not exist; --ca names a PEM file")
    asked = Options(
        None if options.labels is None else tuple(options.labels),
        options.threshold,
        context=options.context or DEFAULT.context,
    ).to_upstream()
    source = KeySource.of(options, "inference")
    if options.inference_key_file is not None:
        source.key()  # a file that cannot be read is an error whoever is asked
    return Remote(options.inference, source, options.ca, name=options.model, options=asked)


@contextmanager
def _counter() -> Iterator[Callable[[str], None]]:
    """A function that shows a line on the terminal in place of the one before; nothing where results go there too."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda _: None
        return

    def show(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        show("")
