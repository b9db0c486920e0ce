"""A file is replaced as a whole or not at all."""

import pytest
import torch

from training.checkpoint import only_run_in, read_state, write_state
from training.errors import RunError
from training.output import write_file


def test_a_state_is_read_as_it_was_written(tmp_path):
    state = {"weights": {"a": torch.arange(3.0)}, "loss": 0.1 + 0.2, "log": [{"epoch": 1}], "spans": [[(0, 1, "PER")]]}

    write_state(tmp_path / "state.pt", state)

    read = read_state(tmp_path / "state.pt")
    assert read.pop("weights")["a"].tolist() == [0, 1, 2]
    assert read == {key: value for key, value in state.items() if key != "weights"}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_state_cannot_run_code(tmp_path):
    torch.save({"format": 3, "evil": Unpickled()}, tmp_path / "state.pt")

    with pytest.raises(RunError, match=r"state\.pt: cannot be read as the state of a run"):
        read_state(tmp_path / "state.pt")

    assert not Unpickled.ran


class Unpickled:
    ran = False

    def __reduce__(self):
        return run, ()


def run():
    Unpickled.ran = True


def test_a_full_disk_leaves_the_old_file(tmp_path):
    write_file(tmp_path / "state.pt", b"old")
    (tmp_path / "state.pt.new").symlink_to("/dev/full")

    with pytest.raises(RunError, match=r"state\.pt: cannot be written: No space left on device"):
        write_file(tmp_path / "state.pt", b"new")

    assert (tmp_path / "state.pt").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_what_a_killed_process_left_half_written_is_replaced(tmp_path):
    (tmp_path / "state.pt.new").write_bytes(b"half of a state, and more than the next one")

    write_file(tmp_path / "state.pt", b"new")

    assert (tmp_path / "state.pt").read_bytes() == b"new"


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with only_run_in(tmp_path / "run"), pytest.raises(RunError, match="run: another process trains there"):
        only_run_in(tmp_path / "run").__enter__()

    with only_run_in(tmp_path / "run"):
        pass


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="file/run: cannot be written: Not a directory"):
        only_run_in(tmp_path / "file" / "run").__enter__()
