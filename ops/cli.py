"""``nerserve up`` and the operator's commands, as the command line has them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

from contract.argument_types import DIR, FILE, SECONDS, model_names, setting, whole_number
from contract.exit_status import ExitStatus, exit_status_help
from contract.limits import RequestLimits
from contract.settings import own_settings
from ops.operate import cli as operate_cli
from ops.operate import instance_cli
from ops.process.addresses import LAST_PORT_BASE, PORT_OFFSETS

_UP_EPILOG = """\
examples:
  nerserve up
  nerserve up --models en,de --model-store /srv/models
  nerserve up --detach                 in the background; nerserve status, logs and down are for that one
  nerserve up --max-chars 500000       texts of half a million characters, for all that has a limit
  nerserve up --port-base 18000 --state-dir .nerserve-2     beside another one

TorchServe's own ports stand in config.properties: 8080 inference, 7070 gRPC, 8081 management, 8082 metrics.
--port-base 18000 makes them 18080, 18070, 18081 and 18082, and the site's 18000, whatever else is said but by --port.

SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it: the site takes no more requests, those accepted are
answered, then everything ends.  A second signal hurries.
The exit status is 0 then if everything was up before, else 128 + N.

"""

_UP_EXITS = exit_status_help(
    *(ExitStatus.BUSY, ExitStatus.NO_JAVA, ExitStatus.BAD_MODEL, ExitStatus.NOT_IN_TIME, ExitStatus.GAVE_UP)
)


_PORT: Final = whole_number("a port", 1, 65_535)


_KEY_EPILOG = """\
examples:
  nerserve key
  curl -H "Authorization: Bearer $(nerserve key)" -H 'Content-Type: text/plain' -d 'Kofi Annan was born in Kumasi.' \\
    http://127.0.0.1:8080/predictions/en
  curl -H "Authorization: Bearer $(nerserve key management)" http://127.0.0.1:8081/models

A key is replaced while nerserve up runs, by default every 36 minutes: ask for it each time.

"""


_CONFIG_EPILOG = """\
examples:
  nerserve config --out torchserve.properties
  nerserve config --models en,de --port-base 18000 --out /etc/torchserve/ner.properties

Then, in a directory of its own, with the Python that has torchserve:
  OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 torchserve --start --foreground --ncs --ts-config FILE

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
    config = subparsers.add_parser(
        "config",
        help="write TorchServe's settings for a stock TorchServe",
        description="Write what nerserve up has TorchServe read, with absolute paths, and say how it is started.",
        epilog=_CONFIG_EPILOG + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config.add_argument("--out", **FILE, required=True, help="the file; one that others wrote is left alone")
    config.add_argument("--json", action="store_true", help="print JSON")
    _add_torchserve_arguments(config.add_argument, own_settings(os.environ))
    config.set_defaults(run=_run_config)


def _add_torchserve_arguments(add: Callable[..., object], environ: Mapping[str, str]) -> None:
    """The options that decide TorchServe's settings."""
    add("--config", **FILE, default=Path("config.properties"), help="TorchServe's settings (default: %(default)s)")
    archives = "directory with an archive NAME.mar for each model (default: %(default)s)"
    add("--model-store", **DIR, default=Path("model-store"), help=archives)
    names = setting(environ, "NERSERVE_MODELS", "en", model_names)
    add("--models", **names, metavar="NAME[,NAME...]", help="models to serve (default: NERSERVE_MODELS, else en)")
    base = "move all ports: N site, N+80 inference, N+81 management, N+82 metrics, N+70 gRPC, N+71 its management"
    add("--port-base", type=whole_number("a port", 1, LAST_PORT_BASE), metavar="N", help=base)
    longest = "longest text in characters, for TorchServe, workers and site (default: NERSERVE_MAX_CHARS, else 100000)"
    add("--max-chars", metavar="N", help=longest)


def _add_up_arguments(add: Callable[..., object], environ: Mapping[str, str]) -> None:
    """The options of ``up``; all but ``--max-chars`` and ``--only-check`` go by the names of UpOptions."""
    _add_torchserve_arguments(add, environ)
    host = environ.get("NERSERVE_HOST", "127.0.0.1")
    add("--host", default=host, help="address of the site (default: NERSERVE_HOST, else 127.0.0.1)")
    add("--port", type=_PORT, metavar="PORT", help="port of the site (default: NERSERVE_PORT, else 8000)")
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
    only = "check arguments, settings and ports, and end: what scripts/up asks before it installs anything"
    add("--only-check", action="store_true", help=only)


def _run_up(options: argparse.Namespace) -> int:
    """``nerserve up``; its imports wait until here, so that ``--help`` is instant."""
    options.port = site_port(options)
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


def _run_config(options: argparse.Namespace) -> int:
    """``nerserve config``; its imports wait until here, as above."""
    from ops.process.server_config import ServerConfig
    from ops.stock import format_stock, stock_command, stock_settings, write_stock

    limits = _limits(options.max_chars)
    config = ServerConfig.load(options.config, limits, os.environ, options.port_base)
    settings = stock_settings(config, options.model_store, options.models)
    write_stock(options.out, format_stock(settings, config.path), mode=config.path.stat().st_mode & 0o777)
    command = stock_command(options.out, limits)
    if options.json:
        print(json.dumps({"out": str(options.out), "command": command}, indent=2))
    else:
        print(f"{options.out} has the settings; start a stock TorchServe in a directory of its own:")
        print(f"  {command}")
    return 0


def site_port(options: argparse.Namespace) -> int:
    """The port of the site: what ``--port`` says, else what follows from the base, else what the variable says."""
    named = setting(own_settings(os.environ), "NERSERVE_PORT", "8000", _PORT)
    default: int = named["type"](named["default"])  # a wrong one is an error even where it is not used
    if options.port is not None:
        return int(options.port)
    return default if options.port_base is None else int(options.port_base) + PORT_OFFSETS["site"]


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
