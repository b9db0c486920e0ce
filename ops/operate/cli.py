"""The parsers of the operators' commands; nothing here asks TorchServe anything."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contract.argument_types import DIR, FILE, SECONDS, model_name, server_url, setting, share, version, whole_number
from contract.exit_status import ExitStatus, exit_status_help
from ops.process.state_dir import DEFAULT_STATE_DIR

_Run = Callable[[argparse.Namespace], int]
_Parser = argparse.ArgumentParser

_RETIRES: Final = ("standby", "stopped", "removed")

_Arguments = dict[str, Any]
_MODEL: Final[_Arguments] = {"type": model_name, "metavar": "MODEL"}
_VERSION: Final[_Arguments] = {"type": version, "metavar": "VERSION"}
_DEFAULT_VERSION: Final[_Arguments] = _VERSION | {"nargs": "?", "help": "(default: the default version)"}
_WORKERS: Final[_Arguments] = {"type": whole_number("a number of workers", 1, 1000), "metavar": "N"}
_SHARE: Final[_Arguments] = {"type": share, "metavar": "SHARE"}

_EXITS: Final = "\n" + exit_status_help(
    ExitStatus.BAD_MODEL,
    ExitStatus.UNKNOWN_MODEL,
    ExitStatus.REFUSED,
    ExitStatus.ROLLED_BACK,
    ExitStatus.NOT_IN_TIME,
    ExitStatus.NO_REPLY,
    ExitStatus.NOT_RESTORED,
)

_SERVER: Final = """
The nerserve up that runs with --state-dir is the server; with none, 127.0.0.1 with the default ports.  --management
names another.  NERSERVE_MANAGEMENT_URL, NERSERVE_INFERENCE_URL and NERSERVE_STATE_DIR stand for --management,
--inference and --state-dir.  Keys for addresses of this machine are found in the state directory; for others, name
files with nothing but one key.  They are read again for every request, so a key may be renewed at any time.
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
  nerserve scale en 1.1 --workers 1 --load-timeout 60

Workers are added at once, and waited for until their model is loaded.  They go one at a time, each when the queue is
empty; TorchServe ends the youngest, and drops the batch that it may have in hand: 500 on the inference port, which the
site asks again.  Numbers given here win over the archive's yaml, until TorchServe restarts.
"""

_REGISTER: Final = """\
examples:
  nerserve register en-1.1.mar                                  a file that the server's model store has
  nerserve register build/de.mar                                a file of this machine, put there first

The first version of a model is its default at once; a later one is not, and answers as /predictions/MODEL/VERSION.
nerserve rollout replaces the default.  A version whose workers do not get ready is unregistered again.
"""

_ROLLOUT: Final = """\
examples:
  nerserve rollout en build/en.mar
  nerserve rollout en build/en.mar --sample texts.txt --max-disagreement 0.1 --watch 60
  nerserve rollout en en-1.1.mar --management http://10.0.0.5:8081 --inference http://10.0.0.5:8080
  nerserve rollout en ./en.mar --model-store /srv/models --dry-run

A path, or any file with --model-store, is an archive of this machine: it is verified (and its model asked a canary,
where torch is installed), and copied into the model store as MODEL-VERSION.mar.  A bare name is a file that the
server's store has.

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
  nerserve unregister en 1.1 --force      the default too

It is drained first.  The default version only goes with --force: another version on standby takes over.  Without one
nobody answers until nerserve up, which serves the models it was started with, registers the model store's MODEL.mar
again after some seconds; to take a model away, start it without that model.
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], run: _Run) -> None:
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
    describe.add_argument("model", **_MODEL)
    describe.add_argument("version", **_DEFAULT_VERSION)

    scale = add("scale", "change how many workers a version has, while it is served", _SCALE)
    scale.add_argument("model", **_MODEL)
    scale.add_argument("version", **_DEFAULT_VERSION)
    scale.add_argument("--workers", **_WORKERS, required=True, help="at least 1; see nerserve drain")
    scale.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="until that many are ready (default)"
    )
    _add_load_timeout(scale)

    register = add("register", "register an archive beside what is served", _REGISTER)
    register.add_argument("archive", metavar="ARCHIVE")
    register.add_argument("--name", type=model_name, help="the model's name (default: the archive's own)")
    register.add_argument("--workers", **_WORKERS, default=1, help="(default: %(default)s)")
    _add_store(register)
    _add_load_timeout(register)

    _add_rollout(add("rollout", "replace a model's default version, or keep it if that fails", _ROLLOUT, predicts=True))

    rollback = add("rollback", "serve another version that is registered, at once", _ROLLBACK, predicts=True)
    rollback.add_argument("model", **_MODEL)
    rollback.add_argument("--to", **_VERSION, help="(default: the one on standby)")
    _add_store(rollback)
    _add_retire(rollback, "stopped")
    _add_grace(rollback)
    _add_load_timeout(rollback)

    drain = add("drain", "stop a version once nothing waits for it", _DRAIN)
    drain.add_argument("model", **_MODEL)
    drain.add_argument("version", **_DEFAULT_VERSION)
    drain.add_argument("--force", action="store_true", help="the default version too")
    _add_idle_timeout(drain)

    unregister = add("unregister", "stop a version and forget it", _UNREGISTER)
    unregister.add_argument("model", **_MODEL)
    unregister.add_argument("version", **_VERSION)
    unregister.add_argument("--force", action="store_true", help="the default version too")
    _add_idle_timeout(unregister)


def _add_rollout(rollout: _Parser) -> None:
    add = rollout.add_argument
    add("model", **_MODEL)
    add("archive", metavar="ARCHIVE")
    _add_store(rollout)
    add("--sample", **FILE, help="texts to compare on, one a line (default: ten)")
    of_texts = "of the texts whose entities may differ; 1 also takes what cannot be compared (default: %(default)g)"
    add("--max-disagreement", **_SHARE, default=0.5, help=of_texts)
    add(
        "--error-rate", **_SHARE, default=0.05, help="of canaries that may fail after the switch (default: %(default)g)"
    )
    add("--watch", **SECONDS, default=10.0, help="seconds of canaries after it (default: %(default)g)")
    _add_retire(rollout, "standby")
    _add_grace(rollout)
    _add_load_timeout(rollout)


def _add_server(parser: _Parser, *, predicts: bool) -> None:
    add, environ = parser.add_argument_group("the server").add_argument, os.environ
    url = setting(environ, "NERSERVE_MANAGEMENT_URL", None, server_url)
    add("--management", **url, metavar="URL", help="its management API (default: that of the nerserve up below)")
    add("--management-key-file", **FILE, help="a file with the management key")
    if predicts:
        url = setting(environ, "NERSERVE_INFERENCE_URL", None, server_url)
        add("--inference", **url, metavar="URL", help="its inference API, for canaries (default: likewise)")
        add("--inference-key-file", **FILE, help="a file with the inference key")
    add_state_dir(add, "of the nerserve up that is asked, or whose keys are used")
    add("--ca", **FILE, help="certificates to trust behind https (PEM)")


def add_state_dir(add: Callable[..., object], help_text: str) -> None:
    """Add ``--state-dir``; *help_text* says what for."""
    default = Path(os.environ.get("NERSERVE_STATE_DIR") or DEFAULT_STATE_DIR)
    help_text += f" (default: NERSERVE_STATE_DIR, else {DEFAULT_STATE_DIR})"
    add("--state-dir", **DIR, default=default, help=help_text)


def _add_store(parser: _Parser) -> None:
    parser.add_argument(
        "--model-store",
        **DIR,
        help="the server's model store on this machine (default: that of the nerserve up)",
    )
    parser.add_argument(
        "--no-canary", action="store_true", help="do not load the model here first; its bytes are checked all the same"
    )


def _add_retire(parser: _Parser, default: str) -> None:
    text = "what becomes of the version that is replaced (default: %(default)s)"
    parser.add_argument("--old", dest="retire", choices=_RETIRES, default=default, help=text)


def _add_grace(parser: _Parser) -> None:
    text = "seconds of an empty queue before workers go, for what they have in hand (default: %(default)g)"
    parser.add_argument("--grace", dest="grace_s", **SECONDS, default=2.0, help=text)


def _add_load_timeout(parser: _Parser) -> None:
    text = "seconds until its workers must be ready (default: %(default)g)"
    parser.add_argument("--load-timeout", dest="load_timeout_s", **SECONDS, default=180.0, help=text)


def _add_idle_timeout(parser: _Parser) -> None:
    _add_grace(parser)
    text = "seconds until its queue must have been empty (default: %(default)g)"
    parser.add_argument("--drain-timeout", dest="idle_timeout_s", **SECONDS, default=60.0, help=text)
