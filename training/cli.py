"""``nerserve train``, ``nerserve evaluate`` and ``nerserve open-corpora``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from handler.config import PERTURBATION_SHARES

#: The packages of requirements/train.in, and the command that installs them.
_PACKAGES = frozenset({"gensim", "jinja2", "matplotlib", "numpy", "scipy", "tqdm"})
_INSTALL = "scripts/install serve web archive train"

_FILE: Any = {"type": Path, "metavar": "FILE"}

_TRAIN_EXAMPLE = """\
examples:
  nerserve train --train news.conll --dev news-dev.conll --vectors glove.6B.100d.txt --out models/news
  nerserve train ... --out models/news --resume          continue after a kill, a crash or Ctrl-C
  nerserve train ... --out models/news --seeds 1 2 3     mean and deviation over seeds
  nerserve archive models/news && nerserve up --models news                  serve it

Files of words and tags have the tag last on each line (IOB1, BIO, IOBES, BILOU and BMES); files that end in .jsonl
have a text and its entities' character spans on each.  --config takes a JSON file such as
{"model": {"hidden_dim": 256}, "training": {"max_epochs": 15}}; what it leaves out keeps its default.

what is written:
  models/news/              the bundle, when the run has ended: weights, configuration, vocabulary, vectors,
                            metrics.json (dev and test scores) and MODEL_CARD.md
  runs/news/run.json        the inputs of the run: settings, digests and counts of the files, versions, CPU, threads
  runs/news/log.jsonl       a line per epoch: loss, dev F1 by corpus and label, learning rate, tokens/s, seconds
  runs/news/state.pt        the last checkpoint, at most 30 seconds old
  runs/news/best/           the bundle of the best epoch so far
  runs/news/report.html     plots and tables of the finished run, in one file; the plots also in runs/news/plots/

A run that is killed, even by SIGKILL, continues with --resume and ends with bit-identical weights, with the same files,
settings and number of threads on the same machine.  SIGINT (Ctrl-C) and SIGTERM write the state first; a second one
does not wait.

exit status:
  0        the bundle is written
  1        it is not; the last line says why
  2        wrong usage
  128 + N  stopped by signal N
"""

_EVALUATE_EXAMPLE = """\
example:
  nerserve evaluate models/news test.conll --errors errors.html

Files annotated with other labels than the model's, or a model with others than those to be compared: --labels
takes a JSON map that serves both.  A file's labels must all be in it; "O" drops a label.  A model's label that is
neither in it nor what another one becomes stays as it is.  A model of person, group and product, on files of PER,
ORG and LOC:

  {"PER": "PER", "ORG": "ORG", "LOC": "O", "person": "PER", "group": "ORG", "product": "O"}
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this package."""
    _add_train(subparsers)
    _add_evaluate(subparsers)
    corpora = subparsers.add_parser(
        "open-corpora",
        help="prepare the open English corpora that models/en is trained on",
        description="Correct the open English corpora, map them to PER, ORG, LOC and MISC, and write train-, dev- and "
        "test- files of CoNLL columns, one for each corpus; those named -native keep the labels of their corpus.",
    )
    corpora.add_argument("data", type=Path, metavar="DATA", help="a folder with gmb_kaggle/, docred/, uner_ewt/, ...")
    corpora.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the files")
    corpora.set_defaults(run=reporting(_open_corpora))


def _add_train(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a model on annotated files and write it as a bundle",
        description="Train a BiLSTM-CRF and write the epoch that is best on dev as a bundle.",
        epilog=_TRAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, file = parser.add_argument, _FILE
    add("--train", nargs="+", **file, required=True, help="files to learn from")
    add("--dev", nargs="+", **file, required=True, help="files that decide which epoch is best")
    add("--test", nargs="+", **file, default=[], help="files to score at the end")
    vectors = "word vectors: GloVe, word2vec, fastText or gensim's own; several are concatenated (docs/vectors.md)"
    add("--vectors", nargs="+", **file, required=True, help=vectors)
    add("--out", type=Path, required=True, metavar="DIR", help="the bundle; its name is the model's")
    add("--config", **file, help="JSON with model and training settings")
    add("--labels", **file, help='JSON map of native labels, {"person": "PER", "date": "O"}')
    add("--max-words", type=_positive, default=200_000, metavar="N", help="most frequent words to keep (%(default)s)")
    storage = "number format of the vectors (%(default)s: float32 if a file has fastText subwords, else int8)"
    add("--storage", choices=("auto", "int8", "float16", "float32"), default="auto", help=storage)
    add("--version", dest="model_version", default="1.0", metavar="V", help="the model's version (%(default)s)")
    add("--card", **file, help="a text to put in front of the scores in MODEL_CARD.md")
    add("--run", dest="run_dir", type=Path, metavar="DIR", help="run folder: state, log, report (runs/NAME)")
    seed = parser.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=int, metavar="N", help="overrides the seed of the configuration")
    seeds = "train with each in RUN/seed-N, report the mean, and keep the seed that is best on dev"
    seed.add_argument("--seeds", nargs="+", type=int, metavar="N", help=seeds)
    threads = "CPU threads (PyTorch's default; on --resume, the number that the run began with)"
    add("--threads", type=_positive, metavar="N", help=threads)
    add("--resume", action="store_true", help="continue the run in the run folder; start it if there is none")
    checkpoint = "seconds between two states, which is the most that a kill costs (%(default)s)"
    add("--checkpoint-seconds", type=_seconds, default=30.0, metavar="S", help=checkpoint)
    parser.set_defaults(run=reporting(_train))


def _add_evaluate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="score a bundle on annotated files, and show its errors",
        description="Span-level precision, recall and F1 by the CoNLL definition: per label, micro and macro.",
        epilog=_EVALUATE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="the folder of a bundle, such as models/en")
    add("files", nargs="+", **_FILE, help="CoNLL columns, or .jsonl with character spans")
    add("--labels", type=Path, metavar="MAP", help="JSON map of labels to those that are compared, see below")
    add("--only", nargs="+", default=[], metavar="LABEL", help="compare only these labels")
    perturb = "score the text in lower case, in capitals, as a headline or with broken spacing"
    add("--perturb", choices=sorted(PERTURBATION_SHARES), help=perturb)
    add("--json", action="store_true", help="print JSON")
    add("--errors", type=Path, metavar="PAGE", help="write an HTML page on the errors")
    add("--max-errors", type=_positive, default=2000, metavar="N", help="sentences on that page (%(default)s)")
    parser.set_defaults(run=reporting(_evaluate))


def _positive(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {value!r}")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {value!r}")
    return seconds


def reporting(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """*command* with our errors printed as one line and turned into an exit code."""

    def run(arguments: argparse.Namespace) -> int:
        from handler.errors import NERError
        from training.errors import TrainingError

        try:
            return command(arguments)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _PACKAGES:
                raise
            print(f"nerserve: not installed: {package}; install what training needs with: {_INSTALL}", file=sys.stderr)
            return 1
        except (NERError, TrainingError) as error:
            print(f"nerserve: {error}", file=sys.stderr)
            return error.exit_code if isinstance(error, TrainingError) else 1

    return run


def _train(arguments: argparse.Namespace) -> int:
    from training.errors import StoppedError
    from training.run import TrainingInputs, train_bundle
    from training.seeds import train_seeds

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("gensim").setLevel(logging.WARNING)  # it logs every call
    run = arguments.run_dir or Path("runs") / arguments.out.name
    given = vars(arguments).copy()
    del given["run"]
    shared = {field.name: given[field.name] for field in fields(TrainingInputs) if field.name in given}
    inputs = TrainingInputs(**shared, run=run, version=arguments.model_version, arguments=given)

    def train_one(seed: int, folder: Path, out: Path) -> dict[str, Any]:
        return train_bundle(replace(inputs, seed=seed, run=folder, out=out))

    try:
        if arguments.seeds:
            metrics = train_seeds(arguments.seeds, train_one=train_one, out=arguments.out, run=run)
        else:
            metrics = train_bundle(inputs)
    except KeyboardInterrupt as error:
        raise StoppedError(signal.SIGINT) from error
    print(f"{arguments.out}: dev F1 {metrics['dev_f1']:.2%} in epoch {metrics['best_epoch']}")
    for name, scores in metrics["test"].items():
        print(f"{name}: test F1 {scores['micro']['f1']:.2%}")
    if arguments.seeds:
        spread = metrics["seeds"]["dev_f1"]
        print(f"mean dev F1 of {len(arguments.seeds)} seeds {spread['mean']:.2%} ± {spread['deviation']:.2%}")
        run /= f"seed-{metrics['seeds']['shipped']}"
    print(f"{run / 'report.html'}: plots and tables of the run")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from handler.tagger import Tagger
    from training.corpora import read_label_map
    from training.evaluation import table, tag_corpora
    from training.reports.error_page import check_folder, write_error_page

    if arguments.errors:
        check_folder(arguments.errors)  # before tagging
    labels = read_label_map(arguments.labels) if arguments.labels else None
    tagger = Tagger.load(arguments.bundle)
    corpora = tag_corpora(tagger, arguments.files, labels, arguments.only, arguments.perturb)
    if arguments.json:
        print(json.dumps({corpus.name: corpus.evaluation.to_dict() for corpus in corpora}, indent=2))
    else:
        print("\n\n".join(f"{corpus.name}\n{table(corpus.evaluation)}" for corpus in corpora))
    if arguments.errors:
        write_error_page(arguments.errors, tagger, corpora, arguments.max_errors)
    return 0


def _open_corpora(arguments: argparse.Namespace) -> int:
    from training.open_english import prepare

    for part, num_sentences in prepare(arguments.data, arguments.out).items():
        print(f"{arguments.out / part}.conll: {num_sentences} sentences")
    return 0
