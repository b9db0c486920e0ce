"""``nerserve train``, ``nerserve evaluate`` and ``nerserve open-corpora``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

_TRAIN_EXAMPLE = """\
example:
  nerserve train --train news.conll --dev news-dev.conll --vectors glove.6B.100d.txt --out models/news
  nerserve archive models/news && nerserve up --models news

The tag column is the last of each line; IOB1, BIO and IOBES are read. --config takes a JSON file
such as {"model": {"hidden_dim": 256}, "training": {"max_epochs": 15}}; what it leaves out keeps its default.
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this package."""
    train = subparsers.add_parser(
        "train",
        help="train a model on CoNLL files and write it as a bundle",
        description="Train a BiLSTM-CRF and write the epoch that is best on dev as a bundle.",
        epilog=_TRAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("--train", nargs="+", type=Path, required=True, metavar="FILE", help="CoNLL files to learn from")
    train.add_argument("--dev", nargs="+", type=Path, required=True, metavar="FILE", help="CoNLL files that decide")
    train.add_argument(
        "--test", nargs="+", type=Path, default=[], metavar="FILE", help="CoNLL files to score at the end"
    )
    train.add_argument(
        "--vectors", nargs="+", type=Path, required=True, metavar="FILE", help="word vectors; several are concatenated"
    )
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle; its name is the model's")
    train.add_argument("--config", type=Path, metavar="FILE", help="JSON with model and training settings")
    train.add_argument(
        "--labels", type=Path, metavar="FILE", help='JSON map of native labels, {"person": "PER", "date": "O"}'
    )
    train.add_argument(
        "--max-words", type=int, default=200_000, metavar="N", help="words to keep a vector of (%(default)s)"
    )
    train.add_argument("--storage", choices=("int8", "float16"), default="int8", help="of the vectors (%(default)s)")
    train.add_argument("--version", dest="model_version", default="1.0", metavar="V", help="of the model (%(default)s)")
    train.add_argument(
        "--card", type=Path, metavar="FILE", help="a text to put in front of the scores in MODEL_CARD.md"
    )
    train.add_argument(
        "--run", dest="run_dir", type=Path, metavar="DIR", help="run folder: log, state, best bundle (runs/NAME)"
    )
    train.add_argument("--seed", type=int, metavar="N", help="overrides the seed of the configuration")
    train.add_argument("--threads", type=int, metavar="N", help="CPU threads (PyTorch's default)")
    train.add_argument("--resume", action="store_true", help="go on behind the last whole epoch of the run folder")
    train.set_defaults(run=_reporting(_train))

    score = subparsers.add_parser(
        "evaluate",
        help="score a bundle on CoNLL files",
        description="Span-level precision, recall and F1 by the CoNLL definition, per label and micro.",
    )
    score.add_argument("bundle", type=Path, metavar="BUNDLE")
    score.add_argument("files", nargs="+", type=Path, metavar="FILE")
    score.add_argument("--labels", type=Path, metavar="FILE", help="JSON map of the files' labels to the model's")
    score.add_argument("--only", nargs="+", default=[], metavar="LABEL", help="count these labels alone")
    score.add_argument("--json", action="store_true", help="print JSON")
    score.set_defaults(run=_reporting(_evaluate))

    corpora = subparsers.add_parser(
        "open-corpora",
        help="prepare the open English corpora that models/en is trained on",
        description="Mend the open English corpora, map them to PER, ORG, LOC and MISC, and write one training file.",
    )
    corpora.add_argument("data", type=Path, metavar="DATA", help="a folder with gmb_kaggle/, docred/, uner_ewt/, ...")
    corpora.add_argument("--out", type=Path, required=True, metavar="DIR")
    corpora.set_defaults(run=_reporting(_open_corpora))


def _reporting(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """*Command* with the failures that have a name reported as one line, and exit code 1."""

    def run(arguments: argparse.Namespace) -> int:
        from handler.errors import NERError
        from training.errors import TrainingError

        try:
            return command(arguments)
        except (NERError, TrainingError) as error:
            print(f"nerserve: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("nerserve: interrupted; the same command with --resume goes on from the last epoch", file=sys.stderr)
            return 130

    return run


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from training.run import train_bundle

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    metrics = train_bundle(
        train=arguments.train,
        dev=arguments.dev,
        test=arguments.test,
        vectors=arguments.vectors,
        out=arguments.out,
        run=arguments.run_dir or Path("runs") / arguments.out.name,
        config=arguments.config,
        labels=arguments.labels,
        max_words=arguments.max_words,
        storage=arguments.storage,
        version=arguments.model_version,
        card=arguments.card,
        seed=arguments.seed,
        resume=arguments.resume,
    )
    print(f"{arguments.out}: dev F1 {metrics['dev_f1']:.2%} in epoch {metrics['best_epoch']}")
    for name, scores in metrics["test"].items():
        print(f"{name}: test F1 {scores['micro']['f1']:.2%}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from handler.tagger import Tagger
    from training.corpora import read_conll, read_label_map
    from training.evaluation import evaluate, table

    labels = read_label_map(arguments.labels) if arguments.labels else None
    tagger = Tagger.load(arguments.bundle)
    results = {str(path): evaluate(tagger, read_conll(path, labels), arguments.only) for path in arguments.files}
    if arguments.json:
        print(json.dumps({path: result.to_dict() for path, result in results.items()}, indent=2))
    else:
        print("\n\n".join(f"{path}\n{table(result)}" for path, result in results.items()))
    return 0


def _open_corpora(arguments: argparse.Namespace) -> int:
    from training.open_english import prepare

    for part, num_sentences in prepare(arguments.data, arguments.out).items():
        print(f"{arguments.out / part}.conll: {num_sentences} sentences")
    return 0
