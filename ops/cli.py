"""``nerserve up`` and the operator's commands, as the command line has them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

from contract.argument_types import DIR, FILE, SECONDS, model_names, setting, whole_number
from contract.exit_status import ExitStatus, exit_status_help
from contract.limits import RequestLimits
from contract.settings import own_settings
from ops.operate import cli as operate_cli
from ops.operate import instance_cli

_UP_EPILOG = """\
examples:
  nerserve up
  nerserve up --models en,de --model-store /srv/models
  nerserve up --detach                 in the background; nerserve status, logs and down are for that one
  nerserve up --max-chars 500000       texts of half a million characters, for all that has a limit
  nerserve up --config second.properties --port 8001 --state-dir .nerserve-2     beside another one

TorchServe's own ports stand in config.properties: 8080 inference, 7070 gRPC, 8081 management, 8082 metrics.

SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it: the site takes no more requests, those accepted are
answered, then everything ends.  A second signal hurries.
The exit status is 0 then if everything was up before, else 128 + N.

"""

_UP_EXITS = exit_status_help(
    *(ExitStatus.BUSY, ExitStatus.NO_JAVA, ExitStatus.BAD_MODEL, ExitStatus.NOT_IN_TIME, ExitStatus.GAVE_UP)
)


_KEY_EPILOG = """\
examples:
  nerserve key
  curl -H "Authorization: Bearer $(nerserve key)" -H 'Content-Type: text/plain' -d 'Kofi Annan was born in Kumasi.' \\
    http://127.0.0.1:8080/predictions/en
  curl -H "Authorization: Bearer $(nerserve key management)" http://127.0.0.1:8081/models

A key is replaced while nerserve up runs, by default every 36 minutes: ask for it each time.

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``up``, what goes with it, and the operator's commands, in the order of ``nerserve --help``."""
    parser = subparsers.add_parser(
        "up",
        help="serve models with TorchServe, and the site in front",
        description="Start TorchServe and the site, wait until every model answers, and keep it so until stopped.",
        epilog=_UP_EPILOG + _UP_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_up_arguments(parser.add_argument, own_settings(os.environ))
    parser.set_defaults(run=_run_up)
    instance_cli.add_parsers(subparsers)
    key = subparsers.add_parser(
        "key",
        help="print the key that TorchServe asks for",
        description="Print a key of the nerserve up that runs, for the header Authorization: Bearer KEY.",
        epilog=_KEY_EPILOG + exit_status_help(ExitStatus.REFUSED),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = ("inference", "management")
    key.add_argument("kind", nargs="?", choices=kinds, default="inference", help="which one (default: %(default)s)")
    operate_cli.add_state_dir(key.add_argument, "of that nerserve up")
    key.add_argument("--json", action="store_true", help="print JSON")
    key.set_defaults(run=_run_key)
    operate_cli.add_parsers(subparsers, _run_operator)


def _add_up_arguments(add: Callable[..., object], environ: Mapping[str, str]) -> None:
    """The options of ``up``; all but ``--max-chars`` and ``--only-check`` go by the names of UpOptions."""
    add("--config", **FILE, default=Path("config.properties"), help="TorchServe's settings (default: %(default)s)")
    archives = "directory with an archive NAME.mar for each model (default: %(default)s)"
    add("--model-store", **DIR, default=Path("model-store"), help=archives)
    names = setting(environ, "NERSERVE_MODELS", "en", model_names)
    add("--models", **names, metavar="NAME[,NAME...]", help="models to serve (default: NERSERVE_MODELS, else en)")
    host = environ.get("NERSERVE_HOST", "127.0.0.1")
    add("--host", default=host, help="address of the site (default: NERSERVE_HOST, else 127.0.0.1)")
    port = setting(environ, "NERSERVE_PORT", "8000", whole_number("a port", 1, 65_535))
    add("--port", **port, help="port of the site (default: NERSERVE_PORT, else 8000)")
    add("--no-site", dest="has_site", action="store_false", help="run TorchServe alone")
    operate_cli.add_state_dir(add, "logs, keys and scratch files; a directory of its own for each instance")
    start = "seconds until everything must answer (default: %(default)g)"
    add("--start-timeout", dest="start_timeout_s", **SECONDS, default=120.0, help=start)
    drain = "seconds that accepted requests get to be answered when stopping (default: 30, or --max-chars / 5000)"
    add("--drain-timeout", dest="drain_timeout_s", **SECONDS, help=drain)
    add("--detach", action="store_true", help="come back when everything is ready, and go on in the background")
    restart = (
        "end with status 12 where TorchServe, a model or the site would be started again, for containers; "
        "workers that TorchServe restarts by itself are still waited for"
    )
    add("--no-restart", dest="can_restart", action="store_false", help=restart)
    trusted = "certificates to trust when config.properties says https (default: its certificate_file, self-signed)"
    add("--ca", **FILE, help=trusted)
    key = "publish the inference key here too, readable by the file's group"
    add("--inference-key-file", **FILE, help=key)
    renew = "seconds until a key is replaced (default: 60 %% of token_expiration_min)"
    add("--renew-keys-every", dest="renew_keys_every_s", **SECONDS, help=renew)
    longest = "longest text in characters, for TorchServe, workers and site (default: NERSERVE_MAX_CHARS, else 100000)"
    add("--max-chars", metavar="N", help=longest)
    only = "check arguments, settings and ports, and end: what scripts/up asks before it installs anything"
    add("--only-check", action="store_true", help=only)


def _run_up(options: argparse.Namespace) -> int:
    """``nerserve up``; its imports wait until here, so that ``--help`` is instant."""
    if options.only_check:
        from ops.preflight import check_before_install

        check_before_install(options, _limits(options.max_chars))
        return 0

    from ops.daemon import run_detached

    return run_detached(partial(_up, options)) if options.detach else _up(options)


def _up(options: argparse.Namespace, detach: Callable[[], None] | None = None) -> int:
    from archive.errors import ArchiveError
    from archive.verify import check_mar
    from ops.process.site import gunicorn_command
    from ops.up import UpOptions, checked_with, up

    limits = _limits(options.max_chars)
    given = {one.name: getattr(options, one.name) for one in fields(UpOptions) if one.name != "limits"}
    return up(
        UpOptions(**given, limits=limits),
        check_archive=checked_with(check_mar, ArchiveError),
        site_command=gunicorn_command,
        out=sys.stdout,
        err=sys.stderr,
        detach=detach,
    )


def _limits(max_chars: str | None) -> RequestLimits:
    """The limits by ``--max-chars`` if given, else by the environment."""
    if max_chars is None:
        return RequestLimits.from_environment(os.environ)
    return RequestLimits.read(max_chars, "--max-chars")


def _run_key(options: argparse.Namespace) -> int:
    """``nerserve key``; its imports wait until here, as above."""
    from ops.operate.keys import print_key

    return print_key(options, sys.stdout)


def _run_operator(options: argparse.Namespace) -> int:
    """One of the operators' commands; its imports wait until here, as above."""
    from ops.operate.commands import run

    return run(options, sys.stdout, sys.stderr)
