"""The parsers of the operators' commands; nothing here asks TorchServe anything."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.argument_types import model_name, seconds, server_url, share, version, whole_number

Run = Callable[[argparse.Namespace], int]

_RETIRES: Final = ("standby", "stopped", "removed")
_WORKERS: Final = whole_number("a number of workers", 1, 1000)

_EXITS: Final = """
exit status:
  0        done
  1        any other failure; workers that end while they load, for one
  2        wrong usage, or a file of keys, texts or certificates cannot be used
  5        a model archive is missing or broken
  6        no such model, version, or archive in the server's model store
  7        refused: by TorchServe (its message is passed on), or by nerserve because it would hurt
  8        a change did not hold and was taken back; the old state is served
  9        what was waited for did not happen in time
  10       no reply from the management API
  11       a change could not be taken back; the message says what is left to do
  128 + N  broken off by signal N; a rollout has returned to the old state first
"""

_SERVER: Final = """
NERSERVE_MANAGEMENT_URL and NERSERVE_INFERENCE_URL stand for --management and --inference.  A file of keys holds
nothing but one key; it is read again for every request, so a key may be renewed at any time.
"""

_MODELS: Final = """\
examples:
  nerserve models
  nerserve models --management https://ner.example.org:8081 --ca ca.pem --management-key-file management.key
  nerserve models --json | jq '.models[].default'
"""

_DESCRIBE: Final = """\
examples:
  nerserve describe en
  nerserve describe en 1.1
"""

_SCALE: Final = """\
examples:
  nerserve scale en --workers 4
  nerserve scale en 1.1 --workers 1 --timeout 60

Workers are added at once, and waited for until their model is loaded.  They go one at a time, each when the queue is
empty; TorchServe ends the youngest, and drops the batch that it may have in hand: 500 on the inference port, which the
site asks again.  Numbers given here win over the archive's yaml, until TorchServe restarts.
"""

_REGISTER: Final = """\
examples:
  nerserve register en-1.1.mar                                  a file that the server's model store has
  nerserve register build/de.mar --model-store model-store      a file of this machine, put there first

The first version of a model is its default at once; a later one is not, and answers as /predictions/MODEL/VERSION.
nerserve rollout replaces the default.  A version whose workers do not get ready is unregistered again.
"""

_ROLLOUT: Final = """\
examples:
  nerserve rollout en build/en.mar --model-store model-store
  nerserve rollout en build/en.mar --model-store model-store --sample texts.txt --max-disagreement 0.1 --watch 60
  nerserve rollout en en-1.1.mar --management http://10.0.0.5:8081 --inference http://10.0.0.5:8080
  nerserve rollout en build/en.mar --model-store model-store --dry-run

With --model-store the archive is a file of this machine: it is verified (and its model asked a canary, where torch is
installed), and copied there as MODEL-VERSION.mar.  Without it, it is the name of a file that the server's store has.

The old version answers until the new one has loaded, answered canaries and a sample of texts; then the default is
switched.  What is queued is still answered by the old version.  When the new version does not load, fails its canaries,
disagrees too much or fails after the switch, and when SIGINT, SIGTERM or SIGHUP comes, everything is taken back.
Requests without a version lose nothing; those that name the old version fail once it has no workers.

The old version stays on standby with one worker (--old standby), so that nerserve rollback takes effect at once,
without its archive; "stopped" keeps it registered without workers: no memory, but a rollback takes some seconds.
"""

_ROLLBACK: Final = """\
examples:
  nerserve rollback en                to the one version on standby
  nerserve rollback en --to 1.0       to any version that is registered, loaded first where it has no workers

The version that is left stays registered without workers (--old stopped).  A version without workers is only gone back
to by name: it may have been stopped because it is bad.
"""

_DRAIN: Final = """\
examples:
  nerserve drain en 1.0
  nerserve drain en --force           the default too; a version on standby takes over, or nobody answers

Its workers go once its queue has been empty for --grace seconds.  Requests that name the version later get 503.
It stays registered: nerserve scale starts it again, nerserve unregister forgets it.
"""

_UNREGISTER: Final = """\
examples:
  nerserve unregister en 1.1

It is drained first.  The default version is only unregistered when it is the model's only one.
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], run: Run) -> None:
    """Register the operators' commands; *run* gets what was parsed, with the command's name in ``command``."""

    def add(name: str, help_text: str, epilog: str, *, changes: bool = True, predicts: bool = False) -> _Parser:
        parser = subparsers.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=epilog + _SERVER + _EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(run=run, command=name)
        _add_server(parser, predicts=predicts)
        parser.add_argument("--json", action="store_true", help="print JSON; what is done goes to stderr")
        if changes:
            parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
        return parser

    add("models", "list all models and versions with their workers", _MODELS, changes=False)

    describe = add("describe", "show one version of a model and its workers", _DESCRIBE, changes=False)
    _add_model(describe)

    scale = add("scale", "change how many workers a version has, while it is served", _SCALE)
    _add_model(scale)
    scale.add_argument("--workers", type=_WORKERS, required=True, metavar="N", help="at least 1; see nerserve drain")
    scale.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="until that many are ready (default)"
    )
    _add_timeout(scale, 180.0, "seconds until the workers must be ready")

    register = add("register", "register an archive beside what is served", _REGISTER)
    register.add_argument("archive", metavar="ARCHIVE")
    register.add_argument("--name", type=model_name, help="the model's name (default: the archive's own)")
    register.add_argument("--workers", type=_WORKERS, default=1, metavar="N", help="(default: %(default)s)")
    _add_store(register)
    _add_timeout(register, 180.0, "seconds until its workers must be ready")

    _add_rollout(add("rollout", "replace a model's default version, or keep it if that fails", _ROLLOUT, predicts=True))

    rollback = add("rollback", "serve another version that is registered, at once", _ROLLBACK, predicts=True)
    rollback.add_argument("model", type=model_name, metavar="MODEL")
    rollback.add_argument("--to", type=version, metavar="VERSION", help="(default: the one on standby)")
    _add_store(rollback)
    _add_retire(rollback, "stopped")
    _add_grace(rollback)
    _add_timeout(rollback, 180.0, "seconds until its workers must be ready")

    drain = add("drain", "stop a version once nothing waits for it", _DRAIN)
    _add_model(drain)
    drain.add_argument("--force", action="store_true", help="the default version too")
    _add_grace(drain)
    _add_timeout(drain, 60.0, "seconds until its queue must have been empty")

    unregister = add("unregister", "stop a version and forget it", _UNREGISTER)
    unregister.add_argument("model", type=model_name, metavar="MODEL")
    unregister.add_argument("version", type=version, metavar="VERSION")
    _add_grace(unregister)
    _add_timeout(unregister, 60.0, "seconds until its queue must have been empty")


_Parser = argparse.ArgumentParser


def _add_rollout(rollout: _Parser) -> None:
    rollout.add_argument("model", type=model_name, metavar="MODEL")
    rollout.add_argument("archive", metavar="ARCHIVE")
    _add_store(rollout)
    rollout.add_argument("--sample", type=Path, metavar="FILE", help="texts to compare on, one a line (default: ten)")
    rollout.add_argument(
        "--max-disagreement",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="of the texts whose entities may differ; 1 also takes what cannot be compared (default: %(default)g)",
    )
    rollout.add_argument(
        "--error-rate",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="of canaries that may fail after the switch (default: %(default)g)",
    )
    rollout.add_argument(
        "--watch",
        type=seconds,
        default=10.0,
        metavar="S",
        help="seconds of canaries after it (default: %(default)g)",
    )
    _add_retire(rollout, "standby")
    rollout.add_argument(
        "--keep-old", dest="retire", action="store_const", const="stopped", help="the same as --old stopped"
    )
    _add_grace(rollout)
    _add_timeout(rollout, 180.0, "seconds until its workers must be ready")


def _add_server(parser: _Parser, *, predicts: bool) -> None:
    server = parser.add_argument_group("the server")
    server.add_argument(
        "--management",
        type=server_url,
        default=os.environ.get("NERSERVE_MANAGEMENT_URL", "http://127.0.0.1:8081"),
        metavar="URL",
        help="its management API (default: %(default)s)",
    )
    server.add_argument("--management-key-file", type=Path, metavar="FILE", help="a file with the management key")
    if predicts:
        server.add_argument(
            "--inference",
            type=server_url,
            default=os.environ.get("NERSERVE_INFERENCE_URL", "http://127.0.0.1:8080"),
            metavar="URL",
            help="its inference API, for canaries (default: %(default)s)",
        )
        server.add_argument("--inference-key-file", type=Path, metavar="FILE", help="a file with the inference key")
    server.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust behind https (PEM)")


def _add_model(parser: _Parser) -> None:
    parser.add_argument("model", type=model_name, metavar="MODEL")
    parser.add_argument("version", type=version, nargs="?", metavar="VERSION", help="(default: the default version)")


def _add_store(parser: _Parser) -> None:
    parser.add_argument(
        "--model-store", type=Path, metavar="DIR", help="the server's model store, when it is on this machine"
    )
    parser.add_argument(
        "--no-canary", action="store_true", help="do not load the model here first; its bytes are checked all the same"
    )


def _add_retire(parser: _Parser, default: str) -> None:
    parser.add_argument(
        "--old",
        dest="retire",
        choices=_RETIRES,
        default=default,
        help="what becomes of the version that is replaced (default: %(default)s)",
    )


def _add_grace(parser: _Parser) -> None:
    parser.add_argument(
        "--grace",
        type=seconds,
        default=2.0,
        metavar="S",
        help="seconds of an empty queue before workers go, for what they have in hand (default: %(default)g)",
    )


def _add_timeout(parser: _Parser, default_s: float, what: str) -> None:
    parser.add_argument(
        "--timeout", type=seconds, default=default_s, metavar="S", help=f"{what} (default: %(default)g)"
    )
