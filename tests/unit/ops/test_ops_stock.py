"""The settings that ``nerserve config`` writes: read back as TorchServe and its launcher read them."""

import json
import shlex
import stat
from pathlib import Path

import javaproperties
import pytest
from ts.model_server import load_properties

from nerserve.cli import main
from ops.stock import format_stock

ROOT = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Runs ``nerserve config`` with these settings in config.properties; its exit status, and the file."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, settings="", out="stock.properties"):
        config = (ROOT / "config.properties").read_text()
        (tmp_path / "config.properties").write_text(config + settings, encoding="iso-8859-1")
        (tmp_path / "metrics.yaml").touch()
        return main(["config", "--out", out, *arguments]), tmp_path / out

    return call


def test_paths_are_absolute_and_limits_and_ports_as_nerserve_up_has_them(write, tmp_path):
    status, file = write("--models", "en,de", "--max-chars", "500000", "--port-base", "18000")

    read = javaproperties.loads(file.read_text("ascii"))
    assert status == 0
    assert read["model_store"] == str(tmp_path / "model-store")
    assert read["metrics_config"] == str(tmp_path / "metrics.yaml")
    assert read["load_models"] == "en=en.mar,de=de.mar"
    assert read["max_request_size"] == "5242880"
    assert read["inference_address"] == "http://127.0.0.1:18080"
    assert read["grpc_inference_port"] == "18070"
    assert "-Xmx448m" in read["vmargs"].split()
    (log_config,) = [one for one in read["vmargs"].split() if one.startswith("-Dlog4j.configurationFile=file:///")]
    assert Path(log_config.partition("file://")[2]).is_file()


def test_the_launcher_reads_what_torchserve_reads(write):
    _, file = write()

    read, launcher = javaproperties.loads(file.read_text("ascii")), load_properties(str(file))

    assert {name: launcher[name] for name in ("model_store", "vmargs")} == {
        name: read[name] for name in ("model_store", "vmargs")
    }


def test_the_command_has_what_the_workers_need(write, tmp_path, capsys):
    write("--max-chars", "500000")

    words = shlex.split(capsys.readouterr().out.splitlines()[-1])

    assert words[:3] == ["OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "NERSERVE_MAX_CHARS=500000"]
    assert words[3:] == [
        *("torchserve", "--start", "--foreground", "--ncs", "--ts-config", str(tmp_path / "stock.properties"))
    ]


def test_json_has_the_file_and_the_command(write, capsys):
    write()
    printed = capsys.readouterr().out.splitlines()[-1].strip()

    write("--json")

    assert json.loads(capsys.readouterr().out) == {"out": "stock.properties", "command": printed}


@pytest.mark.parametrize("value", ["plain", "a\\b", " led by a blank", "é€𝄞", "tab\there", "a=b:c#d!e", "", "\x7f"])
def test_java_reads_every_value_back(value):
    assert javaproperties.loads(format_stock({"key": value}, Path("/x"))) == {"key": value}


def test_its_own_file_is_written_again_and_no_other(write, tmp_path, capsys):
    assert write()[0] == 0
    assert write("--port-base", "18000")[0] == 0
    capsys.readouterr()

    status, file = write(out="config.properties")

    assert status == 2
    assert "config.properties is not of nerserve config, and stays as it is" in capsys.readouterr().err
    assert file.read_bytes().startswith((ROOT / "config.properties").read_bytes())


def test_it_is_as_private_as_the_file_that_it_comes_from(write, tmp_path):
    (tmp_path / "config.properties").touch(0o600)

    _, file = write()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--model-store", "modèles"], "", "model_store: expected ASCII without backslashes"),
        ([], "vmargs=-Da=b\\\\c\n", "vmargs: expected ASCII without backslashes"),
        ([], "max_request_size=5\n", "max_request_size: expected 1048576"),
        (["--out", "nothing/there"], "", "nothing/there cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_is_status_2_in_one_line(write, capsys, arguments, settings, said):
    status, _ = write(*arguments, settings=settings)

    printed = capsys.readouterr().err
    assert status == 2
    assert said in printed
    assert printed.count("\n") == 1
