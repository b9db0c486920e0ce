"""A run writes where it loses nothing: checked before anything is read."""

import json
import os
import shutil

import pytest

from nerserve.cli import main
from training.errors import RunError
from training.output import check_output, check_room
from training.trainer import check_run_folder


@pytest.fixture
def saved(make_bundle, tmp_path):
    """Saves a bundle that a run has made."""

    def save(name="news", made_by="sha256:1"):
        make_bundle().save(tmp_path / name, {"metrics.json": json.dumps({"run": made_by}).encode()})
        return tmp_path / name

    return save


def run_in(folder, identity):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"id": identity}))
    return folder


def test_a_bundle_is_replaced_only_by_the_run_that_made_it(saved, tmp_path):
    out = saved()
    own, other = run_in(tmp_path / "own", "sha256:1"), run_in(tmp_path / "other", "sha256:2")

    check_output(out, own, own=[own])
    check_output(out, tmp_path, own=[other, own])  # one of several seeds

    for run, owners in ((own, []), (other, [other]), (tmp_path / "new", [tmp_path / "new"])):
        with pytest.raises(RunError, match=f"{out}: holds another bundle; --out .* --overwrite replaces"):
            check_output(out, run, own=owners)
    check_output(out, other, own=[other], overwrite=True)


@pytest.mark.parametrize("metrics", [b"{}", b"no JSON", b"[]", None])
def test_a_bundle_of_no_known_run_stays(make_bundle, tmp_path, metrics):
    make_bundle().save(tmp_path / "news", {"metrics.json": metrics} if metrics else {})
    (tmp_path / "run").mkdir()

    with pytest.raises(RunError, match="news: holds another bundle"):
        check_output(tmp_path / "news", tmp_path / "run", own=[tmp_path / "run"])


def test_files_beside_a_bundle_stay_even_when_it_may_be_replaced(saved, tmp_path):
    out = saved()
    (out / "notes.txt").write_text("a week's work\n")

    with pytest.raises(RunError, match=r"news: holds notes\.txt beside a bundle, which would be deleted; move it away"):
        check_output(out, tmp_path / "run", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("others", "others: holds no bundle, and is not replaced by one"),
        ("another_program", "another_program: holds no bundle, and is not replaced by one: config.format: expected"),
        ("file", "file: expected a folder for the bundle, got a file"),
        ("file/news", "file: cannot be written: Not a directory"),
        ("to_file", "to_file, which is .*/file,: expected a folder for the bundle, got a file"),
        ("to_itself", "to_itself.*: expected a folder for the bundle"),
        ("to_others", "others: holds no bundle, and is not replaced by one"),
        ("run", "--run .*run: expected a folder that is not that of the bundle, --out .*run"),
        ("run/best", "--run .*run: expected a folder that is not that of the bundle, --out .*run/best"),
        ("run/..", "--run .*run: expected a folder that is not that of the bundle"),
    ],
)
def test_what_is_no_bundle_is_never_replaced(tmp_path, name, problem, overwrite):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis.tex").touch()
    (tmp_path / "another_program").mkdir()
    (tmp_path / "another_program" / "config.json").write_text('{"architectures": ["BertForTokenClassification"]}')
    (tmp_path / "file").touch()
    for target in ("file", "itself", "others"):
        (tmp_path / f"to_{target}").symlink_to(tmp_path / (target if target != "itself" else "to_itself"))

    with pytest.raises(RunError, match=problem):
        check_output(tmp_path / name, tmp_path / "run", overwrite=overwrite)


def test_a_link_to_a_bundle_is_as_the_bundle(saved, tmp_path):
    (tmp_path / "current").symlink_to(saved())

    with pytest.raises(RunError, match=r"current, which is .*/news,: holds another bundle"):
        check_output(tmp_path / "current", tmp_path / "run")


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty", "to_nothing", "run/new"])
def test_a_place_that_is_free_is_left_as_it_was(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "to_nothing").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.rglob("*"))

    check_output(tmp_path / name, tmp_path / "run")

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("role", ["out", "run"])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, role):
    locked = "/proc/1/task/news" if os.geteuid() == 0 else tmp_path / "locked" / "news"  # root may write anywhere else
    (tmp_path / "locked").mkdir(mode=0o500)
    folders = {"out": tmp_path / "news", "run": tmp_path / "run", role: type(tmp_path)(locked)}

    with pytest.raises(RunError, match="cannot be written: "):
        check_output(folders["out"], folders["run"])


def test_a_mounted_folder_is_refused_as_it_cannot_be_replaced(tmp_path):
    with pytest.raises(RunError, match="/dev: expected a folder that can be replaced, got a mounted one"):
        check_output(type(tmp_path)("/dev"), tmp_path / "run")


def test_a_disk_without_room_is_refused(tmp_path):
    free = shutil.disk_usage(tmp_path).free

    check_room({tmp_path / "news": 1000, tmp_path / "run": 1000})

    with pytest.raises(RunError, match=r"news and .*run: expected room for [\d,]+ MB on the disk, got [\d,]+ MB"):
        check_room({tmp_path / "news": free * 2 // 3, tmp_path / "run": free * 2 // 3})  # each would fit


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_named_best_that_is_no_runs_stays(tmp_path, resume):
    (tmp_path / "best").mkdir()

    with pytest.raises(RunError, match="holds best/, but no run that it is of; --run DIR takes another folder"):
        check_run_folder(tmp_path, resume=resume)


@pytest.mark.parametrize(
    "more", [[], ["--seeds", "1,2"], ["--resume"], ["--run", "elsewhere"], ["--resume", "--seeds", "1,2"]]
)
def test_nothing_is_read_before_a_bundle_is_found_in_the_way(saved, tmp_path, monkeypatch, capsys, more):
    before = {path: path.read_bytes() for path in saved().rglob("*") if path.is_file()}
    files = [word for part in ("train", "dev", "vectors") for word in (f"--{part}", "none")]
    monkeypatch.chdir(tmp_path)

    assert main(["train", *files, "--out", "news", *more]) == 2

    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("nerserve: news: holds another bundle; --out takes another folder, --overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "news").rglob("*") if path.is_file()} == before
