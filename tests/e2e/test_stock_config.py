"""What ``nerserve config`` writes, on a TorchServe that its own launcher starts in a directory of its own."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from nerserve.cli import main
from ops.process.java import find_java
from tests.e2e.instance import ANSWER_S, PATIENCE_S, TEXT, write_archive, write_config

pytestmark = pytest.mark.timeout(900)


def test_a_stock_torchserve_serves_with_them_from_any_directory(tmp_path, capsys):
    ports = write_config(tmp_path)
    write_archive(tmp_path / "model-store" / "en.mar", name="en")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tmp").mkdir(parents=True)
    options = ["--config", str(tmp_path / "config.properties"), "--model-store", str(tmp_path / "model-store")]
    assert main(["config", *options, "--out", str(tmp_path / "stock.properties")]) == 0
    command = capsys.readouterr().out.splitlines()[-1].strip()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "JAVA_HOME": str(find_java(os.environ).path.parent.parent),
        "TMPDIR": str(elsewhere / "tmp"),
        "LANG": "C.UTF-8",
        "TINY_BROKEN": str(tmp_path / "broken"),
        "TINY_ASLEEP": str(tmp_path / "asleep"),
    }

    with (elsewhere / "output").open("wb") as output:
        process = subprocess.Popen(
            ["env", *shlex.split(command)], cwd=elsewhere, env=environment, stdout=output, stderr=output
        )
    try:
        reply = ask(f"{ports.url('inference')}/predictions/en", elsewhere, process)

        assert reply.json()["entities"][0]["text"] == "Barack Obama"
        assert requests.get(f"{ports.url('metrics')}/metrics", timeout=ANSWER_S).status_code == 200
        assert "nerserve_worker" in (tmp_path / "metrics.yaml").read_text()
        refused = requests.post(f"{ports.url('inference')}/predictions/en", json={"text": TEXT}, timeout=ANSWER_S)
        assert refused.json()["type"] == "InvalidKeyException"
        large = requests.post(
            f"{ports.url('inference')}/predictions/en", data=b"x" * 1_048_577, headers=key(elsewhere), timeout=ANSWER_S
        )
        assert large.status_code == 413
        assert json.loads((elsewhere / "logs" / "ts_log.log").read_text().splitlines()[0])["level"]
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for member in family:
            member.kill()
        process.wait()


def key(directory):
    text = json.loads((directory / "key_file.json").read_text())["inference"]["key"]
    return {"Authorization": f"Bearer {text}"}


def ask(url, directory, process):
    """The reply to TEXT, once there is one."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, (directory / "output").read_text()
        with contextlib.suppress(requests.RequestException, OSError, ValueError):
            reply = requests.post(url, json={"text": TEXT}, headers=key(directory), timeout=ANSWER_S)
            if reply.status_code == 200:
                return reply
        assert time.monotonic() < deadline_s, (directory / "output").read_text()
        time.sleep(0.2)
