"""``nerserve train``, ``nerserve evaluate`` and ``nerserve open-corpora``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handler.config import PERTURBATION_SHARES

#: What requirements/train.in brings, and the command that installs it.
_PACKAGES = frozenset({"gensim", "jinja2", "matplotlib", "numpy", "scipy", "tqdm"})
_INSTALL = "scripts/install serve web archive train"

_TRAIN_EXAMPLE = """\
examples:
  nerserve train --train news.conll --dev news-dev.conll --vectors glove.6B.100d.txt --out models/news
  nerserve train ... --out models/news --resume          go on after a kill, a crash or Ctrl-C
  nerserve train ... --out models/news --seeds 1 2 3     how good is it on average?
  nerserve archive models/news && nerserve up --models news                  serve it

Files of words and tags have the tag last on each line (IOB1, BIO, IOBES, BILOU and BMES); files that end in .jsonl
have a text and its entities' character spans on each.  --config takes a JSON file such as
{"model": {"hidden_dim": 256}, "training": {"max_epochs": 15}}; what it leaves out keeps its default.

what is written:
  models/news/              the bundle, when the run has ended: weights, configuration, vocabulary, vectors,
                            metrics.json (dev and test scores) and MODEL_CARD.md
  runs/news/run.json        what the run was given: settings, digests and counts of the files, versions, CPU, threads
  runs/news/log.jsonl       a line an epoch: loss, dev F1 by corpus and label, learning rate, tokens/s, seconds
  runs/news/state.pt        where the run is, at most 30 seconds old
  runs/news/best/           the bundle of the best epoch so far
  runs/news/report.html     plots and tables of the finished run, in one file; the plots also in runs/news/plots/

A run that is killed, even by SIGKILL, goes on with --resume and ends with the same weights, to the bit, as one that was
not: with the same files, settings and number of threads, on the same machine.  SIGINT (Ctrl-C) and SIGTERM write the
state first; a second one does not wait.

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
    train = subparsers.add_parser(
        "train",
        help="train a model on annotated files and write it as a bundle",
        description="Train a BiLSTM-CRF and write the epoch that is best on dev as a bundle.",
        epilog=_TRAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("--train", nargs="+", type=Path, required=True, metavar="FILE", help="files to learn from")
    train.add_argument(
        "--dev", nargs="+", type=Path, required=True, metavar="FILE", help="files that decide which epoch is best"
    )
    train.add_argument("--test", nargs="+", type=Path, default=[], metavar="FILE", help="files to score at the end")
    train.add_argument(
        "--vectors",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="word vectors: GloVe, word2vec, fastText or gensim's own; several are concatenated (docs/vectors.md)",
    )
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle; its name is the model's")
    train.add_argument("--config", type=Path, metavar="FILE", help="JSON with model and training settings")
    train.add_argument(
        "--labels", type=Path, metavar="FILE", help='JSON map of native labels, {"person": "PER", "date": "O"}'
    )
    train.add_argument(
        "--max-words", type=_positive, default=200_000, metavar="N", help="words to keep a vector of (%(default)s)"
    )
    train.add_argument(
        "--storage",
        choices=("auto", "int8", "float16", "float32"),
        default="auto",
        help="of the vectors (%(default)s: float32 where a file has fastText subwords, else int8)",
    )
    train.add_argument("--version", dest="model_version", default="1.0", metavar="V", help="of the model (%(default)s)")
    train.add_argument(
        "--card", type=Path, metavar="FILE", help="a text to put in front of the scores in MODEL_CARD.md"
    )
    train.add_argument(
        "--run", dest="run_dir", type=Path, metavar="DIR", help="run folder: state, log, report (runs/NAME)"
    )
    seed = train.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=int, metavar="N", help="overrides the seed of the configuration")
    seed.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="train with each in RUN/seed-N, report the mean, and keep the seed that is best on dev",
    )
    train.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="CPU threads (PyTorch's default; those it began with on --resume)",
    )
    train.add_argument(
        "--resume", action="store_true", help="go on with the run in the run folder; start it when there is none"
    )
    train.add_argument(
        "--checkpoint-seconds",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how old the state may get, which is what a kill can cost (%(default)s)",
    )
    train.set_defaults(run=_reporting(_train))

    score = subparsers.add_parser(
        "evaluate",
        help="score a bundle on annotated files, and show its errors",
        description="Span-level precision, recall and F1 by the CoNLL definition: per label, micro and macro.",
        epilog=_EVALUATE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    score.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of a bundle, such as models/en")
    score.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="CoNLL columns, or .jsonl with character spans"
    )
    score.add_argument(
        "--labels", type=Path, metavar="MAP", help="JSON map of labels to those that are compared, see below"
    )
    score.add_argument("--only", nargs="+", default=[], metavar="LABEL", help="compare these labels alone")
    score.add_argument(
        "--perturb",
        choices=sorted(PERTURBATION_SHARES),
        help="see the text in lower case, in capitals, as a headline or with broken spacing",
    )
    score.add_argument("--json", action="store_true", help="print JSON")
    score.add_argument("--errors", type=Path, metavar="PAGE", help="write an HTML page on the errors")
    score.add_argument(
        "--max-errors", type=_positive, default=2000, metavar="N", help="sentences on that page (%(default)s)"
    )
    score.set_defaults(run=_reporting(_evaluate))

    corpora = subparsers.add_parser(
        "open-corpora",
        help="prepare the open English corpora that models/en is trained on",
        description="Mend the open English corpora, map them to PER, ORG, LOC and MISC, and write train-, dev- and "
        "test- files of CoNLL columns, one for each corpus; those named -native keep the labels of their corpus.",
    )
    corpora.add_argument("data", type=Path, metavar="DATA", help="a folder with gmb_kaggle/, docred/, uner_ewt/, ...")
    corpora.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the files")
    corpora.set_defaults(run=_reporting(_open_corpora))


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


def _reporting(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """*Command* with the failures that have a name reported as one line, and the exit code that belongs to them."""

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
    from training.run import train_bundle
    from training.seeds import train_seeds

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("gensim").setLevel(logging.WARNING)  # it tells of every call
    run = arguments.run_dir or Path("runs") / arguments.out.name

    def train_one(seed: int | None, folder: Path, out: Path) -> dict[str, Any]:
        return train_bundle(
            train=arguments.train,
            dev=arguments.dev,
            test=arguments.test,
            vectors=arguments.vectors,
            out=out,
            run=folder,
            config=arguments.config,
            labels=arguments.labels,
            max_words=arguments.max_words,
            storage=arguments.storage,
            version=arguments.model_version,
            card=arguments.card,
            seed=seed,
            resume=arguments.resume,
            threads=arguments.threads,
            checkpoint_seconds=arguments.checkpoint_seconds,
            arguments={name: value for name, value in vars(arguments).items() if name != "run"},
        )

    try:
        if arguments.seeds:
            metrics = train_seeds(arguments.seeds, train_one=train_one, out=arguments.out, run=run)
        else:
            metrics = train_one(arguments.seed, run, arguments.out)
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
    from training.error_page import check_folder, write_error_page
    from training.evaluation import table, tag_corpora

    if arguments.errors:
        check_folder(arguments.errors)  # now, and not when all is tagged
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
