"""The parsers of the commands for the nerserve up of a state directory: status, logs and down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from contract.argument_types import SECONDS, whole_number
from contract.exit_status import ExitStatus, exit_status_help
from ops.operate.cli import add_state_dir

_STATUS = """\
examples:
  nerserve status
  nerserve status --json | jq -r .state
  nerserve status --state-dir .nerserve-2

The status is 0 when it is up and every model answers, and 7 else.

"""

_LOGS = """\
examples:
  nerserve logs                        the ends of all logs, in the order of time
  nerserve logs -f site model          two of them, and what comes
  nerserve logs model --lines 1000 | jq -r 'select(.event == "batch") | .ms.tag'

The logs: up (what nerserve up noticed and did), site, torchserve, access (requests to TorchServe that are not answered
predictions) and model (the workers).  One alone is printed as it is, several with the name of each.

"""

_DOWN = """\
examples:
  nerserve down
  nerserve down --hurry                waits for no request that was accepted

It stops as by Ctrl-C: the site takes no more requests, those accepted are answered, then everything ends.  A signal
goes to the process that the state directory names, and only while it is the one that was started then.

"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands."""

    def add(
        name: str, help_text: str, description: str, epilog: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser = subparsers.add_parser(
            name,
            help=help_text,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_state_dir(parser.add_argument, "of that nerserve up")
        parser.set_defaults(run=run)
        return parser

    exits = exit_status_help(ExitStatus.REFUSED)
    says = "Say whether nerserve up runs and everything answers, since when, and where."
    status = add("status", "say whether nerserve up runs and answers", says, _STATUS + exits, _run_status)
    status.add_argument("--json", action="store_true", help="print JSON")

    says = "Print the ends of the logs of nerserve up, also of one that has ended."
    logs = add("logs", "print the logs, and what comes after", says, _LOGS + exit_status_help(), _run_logs)
    logs.add_argument("names", nargs="*", metavar="NAME", help="a log (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    lines = whole_number("a number of lines", 0, 1_000_000)
    logs.add_argument("-n", "--lines", type=lines, default=20, metavar="N", help="of each (default: %(default)s)")

    exits = exit_status_help(ExitStatus.REFUSED, ExitStatus.NOT_IN_TIME)
    says = "Stop nerserve up, wherever it was started, and wait until it has ended."
    down = add("down", "stop nerserve up, and wait until it has ended", says, _DOWN + exits, _run_down)
    down.add_argument("--hurry", action="store_true", help="wait for no request that was accepted")
    down.add_argument("--json", action="store_true", help="print JSON; what is done goes to stderr")
    wait = "seconds until it must have ended (default: its --drain-timeout and 30)"
    down.add_argument("--timeout", dest="timeout_s", **SECONDS, help=wait)


def _run_status(options: argparse.Namespace) -> int:
    """``nerserve status``; its imports wait until here, so that ``--help`` is instant."""
    from ops.operate.status import show_status

    return show_status(options, sys.stdout)


def _run_logs(options: argparse.Namespace) -> int:
    """``nerserve logs``; likewise."""
    from ops.operate.logs import print_logs

    return print_logs(options, sys.stdout)


def _run_down(options: argparse.Namespace) -> int:
    """``nerserve down``; likewise."""
    from ops.operate.status import stop

    return stop(options, sys.stdout, sys.stderr)
