import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ops.process.java import find_java
from ops.process.server_config import server_env
from ops.process.state_dir import StateDir
from ops.process.torchserve import LOG_CONFIG, java_command, torchserve_home


@pytest.fixture
def command(tmp_path):
    return java_command(
        java=Path("/opt/java"),
        jvm_options=("-Xmx1g", "-Xms1g"),
        settings=tmp_path / "state" / "torchserve.properties",
        jars=[tmp_path / "codec.jar", tmp_path / "server.jar"],
        model_store=tmp_path / "store",
        sources={"en": "en.mar", "de": "/state/tmp/last-good/de"},
        socket_dir="/run/s",
    )


def test_torchserve_is_found_without_importing_it():
    assert (torchserve_home() / "ts" / "frontend" / "model-server.jar").exists()
    code = "import sys, ops.process.torchserve as one; one.torchserve_home(); sys.exit('ts' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # other tests of this process may have imported it


def test_java_is_told_everything_the_launcher_would_tell_it(command, tmp_path):
    main = command.index("org.pytorch.serve.ModelServer")
    jvm, server = command[:main], command[main + 1 :]

    assert jvm[0] == "/opt/java"
    assert jvm[-2:] == ["-cp", f"{tmp_path}/codec.jar:{tmp_path}/server.jar"]
    assert {"-Xmx1g", "-Xms1g", "-Djava.io.tmpdir=/run/s", f"-Dlog4j.configurationFile={LOG_CONFIG.as_uri()}"} < set(
        jvm
    )
    assert server == [
        *("--python", sys.executable),
        *("-f", str(tmp_path / "state" / "torchserve.properties")),
        *("-s", str(tmp_path / "store")),
        "-ncs",
        *("-m", "en=en.mar", "de=/state/tmp/last-good/de"),
    ]


def test_workers_get_an_environment_that_misleads_nobody(tmp_path):
    given = {
        "PATH": "/bin",
        "PYTHONPATH": "/checkout",
        "TS_CONFIG_FILE": "/elsewhere",
        "LOCAL_RANK": "1",
        "OMP_NUM_THREADS": "8",
        "LOG_LOCATION": "/elsewhere",
        "NERSERVE_MAX_CHARS": "7",
        "NERSERVE_PORT": "8000",  # a worker of an older archive would call a newer name unknown
    }

    environment = server_env(given, StateDir(tmp_path), 5_000)

    assert environment == {
        "PATH": "/bin",
        "LOG_LOCATION": str(tmp_path / "logs"),
        "METRICS_LOCATION": str(tmp_path / "logs"),
        "TMPDIR": str(tmp_path / "tmp"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NERSERVE_MAX_CHARS": "5000",
    }


@pytest.mark.parametrize("name", ["C", "POSIX", "xx_XX.UTF-8"])
def test_java_finds_paths_of_any_characters_in_any_locale(name):
    code = (
        "import json, os, pathlib\n"
        "from ops.process.state_dir import StateDir\n"
        "from ops.process.server_config import server_env\n"
        "print(json.dumps(server_env(os.environ, StateDir(pathlib.Path('/s')), 1)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"LC_ALL": name}, capture_output=True, text=True, check=True
    ).stdout

    java = [find_java(os.environ).path, "-XshowSettings:properties", "-version"]
    said = subprocess.run(java, env=json.loads(printed), capture_output=True, text=True, check=True).stderr

    assert "sun.jnu.encoding = UTF-8\n" in said


def test_the_state_directory_is_private(tmp_path):
    state_dir = StateDir(tmp_path / "a" / "state")

    state_dir.create()

    assert {path.stat().st_mode & 0o777 for path in (state_dir.path, state_dir.logs, state_dir.scratch)} == {0o700}


def test_every_log_file_is_small_and_of_few_generations():
    root = ET.parse(LOG_CONFIG).getroot()
    appenders = root.findall("./Appenders/*")

    assert {appender.tag for appender in appenders} == {"RollingFile"}
    assert {appender.find("SizeBasedTriggeringPolicy").get("size") for appender in appenders} == {"2 MB"}
    assert {appender.find("DefaultRolloverStrategy").get("max") for appender in appenders} == {"2"}
