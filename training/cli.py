"""``nerserve train``, ``nerserve evaluate`` and ``nerserve open-corpora``; ``renew`` is in ``renewal``."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from contract.argument_types import DIR, FILE, SECONDS, count, integer, label, listed, version
from contract.exit_status import ExitStatus, exit_status_help
from handler.config import PERTURBATION_SHARES
from training.renewal import cli as renew_cli

_TRAIN_EXAMPLE = """\
examples:
  nerserve train --train news.conll --dev news-dev.conll --vectors glove.6B.100d.txt --out models/news
  nerserve train ... --out models/news --resume          continue after a kill, a crash or Ctrl-C
  nerserve train ... --out models/news --seeds 1,2,3     mean and deviation over seeds
  nerserve train --train few.conll --dev dev.conll --init models/en --out models/mine     go on from its weights
  nerserve train --show-settings                         what --config may hold
  nerserve archive models/news && nerserve up --models news                  serve it

Files are read by what they hold: CoNLL columns, or what doccano, Prodigy, Label Studio, spaCy and Hugging Face write
(nerserve data convert --help).  --config takes a JSON file such as
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

"""

_EVALUATE_EXAMPLE = """\
examples:
  nerserve evaluate models/news test.conll
  nerserve evaluate models/news test.conll --errors errors.html     and a page that shows each error
  nerserve evaluate models/news test.conll --labels PER,ORG         these labels alone
  nerserve evaluate models/news test.conll --documents              names elsewhere in the same document count
  nerserve evaluate models/en --field tests/field/*.jsonl           texts as people write them, by kind

Files annotated with other labels than the model's, or a model with others than those to be compared: --label-map
takes a JSON map that serves both.  A file's labels must all be in it; "O" drops a label.  A model's label that is
neither in it nor what another one becomes stays as it is.  A model of person, group and product, on files of PER,
ORG and LOC:

  {"PER": "PER", "ORG": "ORG", "LOC": "O", "person": "PER", "group": "ORG", "product": "O"}

Sentences are tagged one by one, or with --documents as those of one text.  NAME.documents has the number of sentences
of each document on a line.

Field texts are lines of JSON: the kind, by any name, the text, and its entities in text order, or [].  A text is
tagged as in a request, and is exact if these entities come back, with these labels, and no others.

  {"kind": "initials", "text": "Was J. Doe in Rome?", "right": [["J. Doe", "PER"], ["Rome", "LOC"]]}

"""

_OPEN_CORPORA_EXAMPLE = """\
example:
  nerserve open-corpora downloads --out runs/en-data

what is written to --out, with every label mapped to PER, ORG, LOC and MISC:
  train-NAME.conll           a corpus, mended; a mention that may be one of several has all its labels: ORG|LOC, MISC|O
  train-NAME-replaced.conll  gold sentences with other organisations: universities, clubs, firms, bands, schools
  train-lines.conll          results, tables, datelines, headlines, signatures, lists, made of templates and names
  dev-NAME.conll             to choose epochs and settings by
  test-NAME.conll            to score
  NAME.documents             beside a dev or test file: the number of sentences of each document

The held-out parts of the Groningen Meaning Bank are there mended, gmb_mended, and as they were, gmb_kaggle; those
named -native keep the labels of their corpus.  No training sentence of five words or more stands in a dev or test file.
DATA has a folder for each corpus; gum/ and lists/ (clubs.txt, universities.txt) may be missing.  Where they come
from stands in training/en.md.

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands of this package."""
    _add_train(subparsers)
    _add_evaluate(subparsers)
    renew_cli.add_parser(subparsers)
    corpora = subparsers.add_parser(
        "open-corpora",
        help="prepare the open English corpora that models/en is trained on",
        description="Mend the open English corpora, make more training text of them and of lists of names, and write\n"
        "train-, dev- and test- files of CoNLL columns.",
        epilog=_OPEN_CORPORA_EXAMPLE + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora.add_argument("data", type=Path, metavar="DATA", help="a folder with gmb_kaggle/, docred/, uner_ewt/, ...")
    corpora.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the files")
    seed = "of what is drawn: names, lines, replaced organisations (default: %(default)s)"
    corpora.add_argument("--seed", type=integer, default=1, metavar="N", help=seed)
    corpora.add_argument("--json", action="store_true", help="print JSON")
    corpora.set_defaults(run=_open_corpora)


def _add_train(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a model on annotated files and write it as a bundle",
        description="Train a BiLSTM-CRF and write the epoch that is best on dev as a bundle.",
        epilog=_TRAIN_EXAMPLE + exit_status_help(ExitStatus.BUSY, ExitStatus.BAD_MODEL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, file = parser.add_argument, FILE
    train = add("--train", nargs="+", **file, required=True, help="files to learn from")
    dev = add("--dev", nargs="+", **file, required=True, help="files that decide which epoch is best")
    add("--test", nargs="+", **file, default=[], help="files to score at the end")
    words = "word vectors: GloVe, word2vec, fastText, gensim's own, or a bundle; several are put side by side"
    vectors = add("--vectors", nargs="+", **file, required=True, default=[], help=f"{words} (docs/vectors.md)")
    out = add("--out", type=Path, required=True, metavar="DIR", help="the bundle; its name is the model's")
    init = "a bundle whose weights, characters and, without --vectors, word vectors the run begins with"
    add("--init", action=_Frees, frees=[vectors], type=Path, metavar="BUNDLE", help=init)
    add("--overwrite", action="store_true", help="replace another bundle in --out")
    renew_cli.add_about_options(parser)
    add("--config", **file, help="JSON with settings, see --show-settings")
    shown = "print every setting, its default and what it means, and what --config changes; trains nothing"
    add("--show-settings", action=_Frees, frees=[train, dev, vectors, out], nargs=0, help=shown)
    add("--label-map", **file, help='JSON map of native labels, {"person": "PER", "date": "O"}')
    words = "most frequent words to keep (default: %(default)s)"
    add("--max-words", type=count, default=200_000, metavar="N", help=words)
    storage = "number format of the vectors (default: %(default)s, float32 if a file has fastText subwords, else int8)"
    add("--storage", choices=("auto", "int8", "float16", "float32"), default="auto", help=storage)
    of_model = "the model's version (default: %(default)s)"
    add("--model-version", type=version, default="1.0", metavar="VERSION", help=of_model)
    add("--card", **file, help="a text to put in front of the scores in MODEL_CARD.md")
    add("--run", dest="run_dir", **DIR, help="run folder: state, log, report (default: runs/NAME)")
    seed = parser.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=integer, metavar="N", help="overrides the seed of the configuration")
    seeds = "train with each in RUN/seed-N, report the mean, and keep the seed that is best on dev"
    seed.add_argument("--seeds", type=listed(integer), metavar="N[,N...]", help=seeds)
    threads = "CPU threads (default: PyTorch's; on --resume, the number that the run began with)"
    add("--threads", type=count, metavar="N", help=threads)
    add("--resume", action="store_true", help="continue the run in the run folder; start it if there is none")
    checkpoint = "seconds between two states, which is the most that a kill costs (default: %(default)g)"
    add("--checkpoint-seconds", **SECONDS, default=30.0, help=checkpoint)
    add("--json", action="store_true", help="print JSON at the end")
    parser.set_defaults(run=_train)


def _add_evaluate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="score a bundle on annotated files, and show its errors",
        description="Span-level precision, recall and F1 by the CoNLL definition: per label, micro and macro.",
        epilog=_EVALUATE_EXAMPLE + exit_status_help(ExitStatus.BAD_MODEL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="the folder of a bundle, such as models/en")
    add("files", nargs="+", **FILE, help="annotated files, in any format of train's")
    add("--label-map", **FILE, help="JSON map of labels to those that are compared, see below")
    add("--labels", type=listed(label), default=[], metavar="LABEL[,LABEL...]", help="compare only these labels")
    form = parser.add_mutually_exclusive_group()
    perturb = "score the text in lower case, in capitals, as a headline or with broken spacing"
    form.add_argument("--perturb", choices=sorted(PERTURBATION_SHARES), help=perturb)
    field = "the files are field texts, scored by kind: texts without an error, and entities"
    form.add_argument("--field", action="store_true", help=field)
    documents = "tag documents, as the server does texts: from -DOCSTART- lines, or NAME.documents beside NAME.conll"
    add("--documents", action="store_true", help=documents)
    add("--json", action="store_true", help="print JSON")
    add("--errors", **FILE, help="write an HTML page on the errors")
    add("--max-errors", type=count, default=2000, metavar="N", help="sentences on that page (default: %(default)s)")
    parser.set_defaults(run=_evaluate)


class _Frees(argparse.Action):
    """Stores the option's value, or True, and makes other options, which are required without it, optional."""

    def __init__(self, *names: Any, frees: Sequence[argparse.Action], **options: Any) -> None:
        super().__init__(*names, **options)
        self._frees = frees

    def __call__(self, _: Any, namespace: argparse.Namespace, value: Any, __: str | None = None) -> None:
        setattr(namespace, self.dest, value if self.nargs is None else True)
        for action in self._frees:
            action.required = False


def _show_settings(arguments: argparse.Namespace) -> int:
    from training.settings import all_settings, settings_table

    settings = all_settings(arguments.config)
    if arguments.json:
        print(json.dumps([setting._asdict() for setting in settings], indent=2))
    else:
        print(settings_table(settings, shutil.get_terminal_size((100, 24)).columns))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    if arguments.show_settings:
        return _show_settings(arguments)
    from training.errors import StoppedError
    from training.run import TrainingInputs, train_bundle
    from training.seeds import train_seeds

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("gensim").setLevel(logging.WARNING)  # it logs every call
    run = arguments.run_dir or Path("runs") / arguments.out.name
    given = vars(arguments).copy()
    del given["run"], given["json"], given["show_settings"]
    shared = {field.name: given[field.name] for field in fields(TrainingInputs) if field.name in given}
    inputs = TrainingInputs(**shared, run=run, version=arguments.model_version, arguments=given)

    def train_one(seed: int, folder: Path, out: Path) -> dict[str, Any]:
        return train_bundle(replace(inputs, seed=seed, run=folder, out=out))

    try:
        if arguments.seeds:
            where = {"out": arguments.out, "run": run, "resume": arguments.resume, "overwrite": arguments.overwrite}
            metrics = train_seeds(arguments.seeds, train_one=train_one, **where)
        else:
            metrics = train_bundle(inputs)
    except KeyboardInterrupt as error:
        raise StoppedError(signal.SIGINT) from error
    if arguments.json:
        print(json.dumps({"bundle": str(arguments.out), "run": str(run), **metrics}, indent=2))
        return 0
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
    from handler.errors import errors_name
    from handler.tagger import Tagger
    from training.corpora import read_label_map
    from training.errors import InputError
    from training.reports.error_page import check_folder, write_error_page
    from training.scoring.evaluation import table, tag_corpora
    from training.scoring.field import tag_field

    if arguments.field and arguments.documents:
        raise InputError("--documents: field texts are tagged as documents always; leave it out")
    if arguments.errors:
        check_folder(arguments.errors)  # before tagging
    label_map = read_label_map(arguments.label_map) if arguments.label_map else None
    with errors_name(arguments.bundle):
        tagger = Tagger.load(arguments.bundle)
    if arguments.field:
        tagged = tag_field(tagger, arguments.files, label_map, arguments.labels)
        scores = {file.name: file.to_dict() for file in tagged}
        tables = {file.name: file.table() for file in tagged}
        corpora = [corpus for file in tagged for corpus in file.as_corpora()]
    else:
        corpora = tag_corpora(
            *(tagger, arguments.files, label_map, arguments.labels, arguments.perturb),
            has_documents=arguments.documents,
        )
        scores = {corpus.name: corpus.evaluation.to_dict() for corpus in corpora}
        tables = {corpus.name: table(corpus.evaluation) for corpus in corpora}
    if arguments.json:
        print(json.dumps(scores, indent=2))
    else:
        print("\n\n".join(f"{name}\n{scored}" for name, scored in tables.items()))
    if arguments.errors:
        write_error_page(arguments.errors, tagger, corpora, arguments.max_errors)
    return 0


def _open_corpora(arguments: argparse.Namespace) -> int:
    from contract.tables import aligned
    from training.open_english import prepare

    prepared = prepare(arguments.data, arguments.out, arguments.seed)
    files = {f"{arguments.out / name}.conll": count for name, count in prepared.sentences.items()}
    if arguments.json:
        document = {
            "files": {path: {"sentences": count} for path, count in files.items()},
            "mends": dict(prepared.mends),
            "missing": prepared.missing,
        }
        print(json.dumps(document, indent=2))
        return 0
    print(aligned([("FILE", "SENTENCES"), *((path, f"{count:,}") for path, count in files.items())], num_left=1))
    mends = sorted(prepared.mends.items())
    print(f"\n{aligned([('MENDED', 'ENTITIES'), *((what, f'{count:,}') for what, count in mends)], num_left=1)}")
    for name in prepared.missing:
        print(f"{arguments.data / name}: not there, so that nothing is made of it (training/en.md)", file=sys.stderr)
    return 0
