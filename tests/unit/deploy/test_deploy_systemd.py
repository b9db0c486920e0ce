"""deploy/nerserve.service: what it promises of nerserve up holds, and systemd takes it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.exit_status import ExitStatus
from contract.limits import RequestLimits
from nerserve.cli import make_parser
from ops.process.limits import default_drain_s
from ops.supervise.servers import JVM_GRACE_S, LAST_BATCHES_S

ROOT = Path(__file__).parents[3]
UNIT = (ROOT / "deploy" / "nerserve.service").read_text()


def value(name):
    (found,) = re.findall(rf"(?m)^{name}=(.*)$", UNIT)
    return found


def test_it_runs_in_the_foreground_as_systemd_expects_of_that_type():
    program, *arguments = value("ExecStart").split()

    options = make_parser().parse_args(arguments)

    assert value("Type") == "exec"
    assert Path(program).name == "nerserve"
    assert (options.run.__name__, options.detach) == ("_run_up", False)


def test_systemd_waits_for_the_drain():
    assert int(value("TimeoutStopSec")) > default_drain_s(RequestLimits()) + LAST_BATCHES_S + JVM_GRACE_S
    assert value("KillMode") == "mixed"  # gunicorn and Java get no signal but nerserve up's


def test_what_would_fail_again_is_not_restarted():
    assert {ExitStatus(int(status)) for status in value("RestartPreventExitStatus").split()} == {
        ExitStatus.UNUSABLE,
        ExitStatus.NO_JAVA,
        ExitStatus.BAD_MODEL,
    }


def test_java_may_compile():
    assert not re.search(r"(?m)^MemoryDenyWriteExecute", UNIT)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it(tmp_path):
    unit = tmp_path / "nerserve.service"
    installed = Path(sys.executable).with_name("nerserve")
    unit.write_text(UNIT.replace("/opt/nerserve/.venv/bin/nerserve", str(installed)))

    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
