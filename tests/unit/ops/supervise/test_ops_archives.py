"""Which archive a start of TorchServe loads, whatever has happened to the model store's."""

import os
import shutil
from pathlib import Path

import pytest

from archive.errors import ArchiveError
from archive.verify import check_mar
from ops.process.file_systems import is_in_memory
from ops.process.state_dir import StateDir
from ops.supervise.archives import Archives
from ops.up import checked_with
from tests.e2e.instance import write_archive

SHM = Path("/dev", "shm")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "store" / "en.mar"
    write_archive(path, name="en")
    return path


@pytest.fixture
def state_dir(tmp_path):
    state_dir = StateDir(tmp_path / "state")
    state_dir.create()
    return state_dir


@pytest.fixture
def archives(path, state_dir, guard):
    return Archives(path.parent, ["en"], state_dir, guard, checked_with(check_mar, ArchiveError))


def look_twice(archives):
    """What is seen once a change has settled."""
    archives.look()
    return archives.look()["en"]


def loaded_version(archives):
    """The version that a start of TorchServe would load now, None where it would load nothing."""
    source = archives.sources().get("en")
    if source is None or source == "en.mar":
        return source
    return (Path(source) / "MAR-INF" / "MANIFEST.json").read_text().split('"modelVersion": "')[1].split('"')[0]


def cut_off(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_a_directory(path):
    path.unlink()
    path.mkdir()
    (path / "ner_handler.py").touch()


def link_to_nowhere(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere.mar"))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = [
    (Path.unlink, "does not exist"),
    (cut_off, "damaged"),
    (flip_a_byte, "damaged"),
    (lambda path: path.write_bytes(b""), "damaged"),
    (lambda path: write_archive(path, name="de"), "is a model de, expected en"),
    (replace_by_a_directory, "does not exist"),
    (link_to_nowhere, "does not exist"),
    (pipe, "does not exist"),
    (lambda path: shutil.rmtree(path.parent), "does not exist"),
]


@pytest.mark.parametrize(("damage", "problem"), DAMAGES)
def test_a_damaged_archive_is_named_and_the_last_good_one_is_loaded(archives, path, damage, problem):
    look_twice(archives)

    damage(path)

    assert loaded_version(archives) == "1.0"
    seen = look_twice(archives)
    assert problem in seen.problem
    assert str(path) in seen.problem
    assert seen.has_last_good


@pytest.mark.parametrize(("damage", "problem"), DAMAGES)
def test_nothing_is_loaded_where_no_good_one_was_kept(archives, path, damage, problem):
    damage(path)

    assert loaded_version(archives) is None
    assert look_twice(archives).has_last_good is False


def test_a_whole_one_that_comes_back_is_loaded_again(archives, path):
    look_twice(archives)
    data = path.read_bytes()
    path.write_bytes(data[:100])
    archives.sources()

    path.write_bytes(data)

    assert loaded_version(archives) == "en.mar"
    assert look_twice(archives).problem == ""


def test_a_rolled_out_version_is_the_last_good_one(archives, path):
    look_twice(archives)
    write_archive(path.with_name("new"), name="en", version="1.1")
    path.with_name("new").replace(path)
    look_twice(archives)

    cut_off(path)

    assert loaded_version(archives) == "1.1"


def test_one_that_is_being_written_is_not_judged_before_it_has_settled(archives, path):
    look_twice(archives)
    data = path.read_bytes()

    for size in (100, 200, 300):
        path.write_bytes(data[:size])
        assert archives.look()["en"].problem == ""

    assert "damaged" in archives.look()["en"].problem


def test_a_last_good_one_that_is_damaged_itself_is_not_loaded(archives, path, state_dir):
    look_twice(archives)

    cut_off(path)
    cut_off(state_dir.archives / "en.mar")

    assert loaded_version(archives) is None


def test_copies_are_made_of_what_changed_alone_and_go_with_the_guard(archives, path, state_dir, guard):
    look_twice(archives)
    (copy,) = state_dir.archives.iterdir()
    before = copy.stat()

    look_twice(archives)
    guard.close()

    assert before.st_ino != path.stat().st_ino
    assert not copy.exists()


def test_in_memory_nothing_is_copied_but_a_link_needs_no_memory(tmp_path, guard):
    assert is_in_memory(SHM)
    store = SHM / f"nerserve-test-{os.getpid()}"
    try:
        write_archive(store / "en.mar", name="en")
        state_dir = StateDir(store / "state")
        state_dir.create()
        archives = Archives(store, ["en"], state_dir, guard, checked_with(check_mar, ArchiveError))
        look_twice(archives)
        (store / "en.mar").unlink()
        has_link = loaded_version(archives)

        write_archive(tmp_path / "en.mar", name="en")  # on disk: no link leads there
        elsewhere = Archives(tmp_path, ["en"], state_dir, guard, checked_with(check_mar, ArchiveError))
        shutil.rmtree(state_dir.archives)
        seen = look_twice(elsewhere)
    finally:
        shutil.rmtree(store)

    assert has_link == "1.0"
    assert seen.has_last_good is False
