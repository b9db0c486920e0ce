"""Building archives from a real bundle: deterministic, verified, put in place whole."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import nerserve
from archive import mar
from archive.build import _replaced, build_mar
from archive.errors import ArchiveError
from archive.verify import _probe, check_mar, verify_mar
from contract.limits import LARGEST_MAX_CHARS, RequestLimits
from contract.names import MODEL_NAME_RULE
from handler.digests import file_digest
from handler.errors import BundleError
from nerserve.cli import main
from ops.operate import model_store


@pytest.fixture(scope="module")
def built(tiny_bundle, tmp_path_factory):
    return build_mar(tiny_bundle, tmp_path_factory.mktemp("store"))


def test_an_archive_built_twice_is_byte_identical(built, tiny_bundle, tmp_path):
    again = build_mar(tiny_bundle, tmp_path)

    assert again.read_bytes() == built.read_bytes()


def test_an_archive_holds_all_that_serving_needs_and_nothing_else(built, tiny_bundle):
    with zipfile.ZipFile(built) as archive:
        names = set(archive.namelist())

    bundle = {f"bundle/{path.relative_to(tiny_bundle)}" for path in tiny_bundle.rglob("*") if path.is_file()}
    contract, handler = ({str(path) for path in Path(name).rglob("*.py")} for name in ("contract", "handler"))
    code = contract | handler - {"handler/ner_handler.py"}
    assert {"contract/entities.py", "handler/tagger.py"} <= code
    assert names == bundle | code | {"ner_handler.py", "model-config.yaml", mar.MANIFEST, mar.DIGESTS}


def test_the_manifest_is_torch_model_archivers_own(built):
    manifest = json.loads(mar.read(built)[1][mar.MANIFEST])

    assert manifest["model"] == {
        "modelName": "tiny",
        "handler": "ner_handler.py",
        "modelVersion": "1.0",
        "configFile": "model-config.yaml",
    }
    assert manifest["archiverVersion"]


def test_the_archive_says_what_it_is(built, tiny_bundle):
    info = check_mar(built)

    assert (info.name, info.version) == ("tiny", "1.0")
    assert info.digest == file_digest(tiny_bundle / "config.json")
    assert info.sha256 == file_digest(built)


def test_a_built_archive_answers_in_a_clean_process(built):
    assert verify_mar(built) == check_mar(built)


def test_an_archive_is_verified_whatever_a_server_here_is_set_to(built, monkeypatch):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", "10")  # shorter than the canary sentence

    assert verify_mar(built) == check_mar(built)


def test_the_archive_bounds_its_batches_within_the_response_timeout(built):
    settings = yaml.safe_load(mar.read(built)[1][mar.MODEL_CONFIG])

    # 85 us for the costliest character (docs/decisions/0012), on a machine that is twice as slow.
    assert RequestLimits(LARGEST_MAX_CHARS).batch_chars * 85e-6 * 2 < settings["responseTimeout"]


def test_name_version_and_model_config_may_be_given(tiny_bundle, tmp_path):
    config = tmp_path / "fast.yaml"
    config.write_text("minWorkers: 1\nmaxWorkers: 1\n")

    path = build_mar(tiny_bundle, tmp_path / "store", name="news", version="2.1", model_config=config)

    info, files = mar.read(path)
    assert (path.name, info.name, info.version) == ("news.mar", "news", "2.1")
    assert files[mar.MODEL_CONFIG] == config.read_bytes()


def test_an_archive_that_is_up_to_date_is_left_alone(tiny_bundle, tmp_path):
    steps = []
    path = build_mar(tiny_bundle, tmp_path, report=steps.append)
    before = (path.stat().st_ino, path.stat().st_mtime_ns)

    build_mar(tiny_bundle, tmp_path, report=steps.append)

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert steps[-1] == f"{path} is up to date"


@pytest.mark.parametrize("change", ["damaged", "other card", "other version"])
def test_an_archive_that_is_not_up_to_date_is_built_anew(tiny_bundle, tmp_path, change):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    path = build_mar(bundle, tmp_path / "store")
    old = path.read_bytes()
    if change == "damaged":
        path.write_bytes(old[:-10])
    if change == "other card":
        (bundle / "MODEL_CARD.md").write_text("# better\n")

    build_mar(bundle, tmp_path / "store", version="3" if change == "other version" else None)

    assert (path.read_bytes() == old) == (change == "damaged")
    check_mar(path)


def test_another_model_of_the_same_version_is_replaced_with_a_warning(built, tiny_bundle, make_bundle, tmp_path):
    shutil.copy(built, tmp_path)
    make_bundle(seed=2).save(tmp_path / "bundle")
    steps = []

    build_mar(tmp_path / "bundle", tmp_path, report=steps.append)

    old, new = (file_digest(bundle / "config.json") for bundle in (tiny_bundle, tmp_path / "bundle"))
    assert steps[0] == (
        f"warning: {tmp_path / 'tiny.mar'}: replaces another model of the same version, 1.0: {old} by {new};"
        " a rollout needs another version, --model-version"
    )
    assert check_mar(tmp_path / "tiny.mar").digest == new


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("1.0", None), "replaces version 1.0 of the same bundle, with other code, settings or texts beside it"),
        (("1.1", None), "replaces version 1.0"),
        (("1.0", -10), "replaces a damaged archive"),
    ],
)
def test_what_else_an_archive_replaces_is_said(built, tiny_bundle, tmp_path, change, said):
    version, num_bytes = change
    target = tmp_path / "tiny.mar"
    target.write_bytes(built.read_bytes()[:num_bytes])

    assert _replaced(target, version, file_digest(tiny_bundle / "config.json")) == f"{target}: {said}"


def test_what_was_rolled_out_stays_until_it_is_rolled_back(tiny_bundle, tmp_path, capsys):
    store, releases = tmp_path / "store", tmp_path / "releases"
    up = ("archive", tiny_bundle, "--model-store", store, "--keep-rolled-out")
    run(*up)
    first = (store / "tiny.mar").read_bytes()
    release = build_mar(tiny_bundle, releases, version="1.1")
    model_store.put(release, store, "tiny-1.1.mar", check_mar(release).sha256)
    model_store.make_current(store, "tiny", "1.1")

    capsys.readouterr()
    assert run(*up) == 0
    assert (store / "tiny.mar").read_bytes() == release.read_bytes()
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{store / 'tiny.mar'}: tiny 1.1, ")
    assert "tiny.mar stays as it was rolled out, version 1.1" in captured.err

    model_store.make_current(store, "tiny", "1.0")
    run(*up)
    assert (store / "tiny.mar").read_bytes() == first
    model_store.make_current(store, "tiny", "1.1")
    run("archive", tiny_bundle, "--model-store", store)
    assert (store / "tiny.mar").read_bytes() == first


def test_nothing_is_left_behind_or_lost_when_a_bundle_is_damaged(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    path = build_mar(bundle, tmp_path / "store")
    before = path.read_bytes()
    (bundle / "vocab.json").unlink()

    with pytest.raises(ArchiveError, match=r"tiny: vocab\.json: missing"):
        build_mar(bundle, tmp_path / "store")

    assert list((tmp_path / "store").iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_model_that_loads_but_does_not_fit_is_not_put_in_place(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    (bundle / "vocab.json").write_text('{"chars": ["a"]}')
    config = json.loads((bundle / "config.json").read_text())
    config["digests"]["vocab.json"] = file_digest(bundle / "vocab.json")
    (bundle / "config.json").write_text(json.dumps(config))

    with pytest.raises(ArchiveError, match=r"does not answer: .*BundleError: weights\.npz: char_cnn"):
        build_mar(bundle, tmp_path / "store")

    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": "-x y"}, f"config.name: expected {MODEL_NAME_RULE}, got '-x y'"),
        ({"name": "../x"}, f"config.name: expected {MODEL_NAME_RULE}, got '../x'"),
        ({"name": "en+x"}, f"config.name: expected {MODEL_NAME_RULE}, got 'en+x'"),
        ({"name": "x" * 65}, f"config.name: expected {MODEL_NAME_RULE}, got '{'x' * 65}'"),
        ({"version": "2/0"}, "config.version: expected N, N.N or N.N.N, got '2/0'"),
        ({"version": "\u0662"}, "config.version: expected N, N.N or N.N.N, got '\u0662'"),
    ],
)
def test_a_name_or_version_that_is_none_is_refused(tiny_bundle, tmp_path, given, problem):
    with pytest.raises(ArchiveError, match=re.escape(problem)):
        build_mar(tiny_bundle, tmp_path / "store", **given)

    assert not (tmp_path / "store").exists()


def test_what_torch_model_archiver_says_is_passed_on(tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "model_archiver.py").write_text("raise SystemExit('no disk today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(ArchiveError, match="torch-model-archiver failed with exit code 1: no disk today"):
        build_mar(tiny_bundle, tmp_path / "store")


def test_our_model_config_says_what_torchserve_needs():
    config = yaml.safe_load(Path("archive/model-config.yaml").read_text())

    assert config["minWorkers"] == config["maxWorkers"]
    assert 1 <= config["maxBatchDelay"] <= 5
    assert set(config) == {
        "minWorkers",
        "maxWorkers",
        "batchSize",
        "maxBatchDelay",
        "responseTimeout",
        "startupTimeout",
    }


def test_an_archive_of_other_text_rules_answers_by_its_own(built, tmp_path):
    files = mar.read(built)[1]
    config = json.loads(files["bundle/config.json"])
    config["rules"] = {"tokens": 7}
    rules = b'TEXT_RULES = {"tokens": 7}\n'
    path = tmp_path / "tiny.mar"

    del files[mar.DIGESTS]
    changed = {"handler/text/rules.py": rules, "bundle/config.json": json.dumps(config).encode()}
    path.write_bytes(mar.pack(files | changed))

    assert verify_mar(path).digest != check_mar(built).digest
    with pytest.raises(BundleError, match=r"tiny\.mar: config\.rules: expected .*, got tokens 7; nerserve renew"):
        nerserve.load(path)


def run(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # by argparse
        return stopped.code


def test_the_commands_build_and_inspect(tiny_bundle, tmp_path, capsys):
    assert run("archive", tiny_bundle, "--model-store", tmp_path, "--name", "news") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'news.mar'}: news 1.0, ")

    assert run("inspect", tmp_path / "news.mar") == 0
    shown = capsys.readouterr().out
    assert "bundle/weights.npz" in shown
    assert "about" not in shown
    assert run("inspect", tmp_path / "news.mar", "--json", "--canary") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "news"


@pytest.mark.parametrize(
    ("description", "lines"),
    [("Names in news", ["about    Names in news", "language en-GB"]), ("\x1b[2J", ["language en-GB"])],
)
def test_inspect_shows_what_a_model_says_of_itself_unless_it_would_write_to_the_terminal(
    built, tmp_path, capsys, description, lines
):
    files = mar.read(built)[1]
    config = json.loads(files["bundle/config.json"])
    config["about"] = {"description": description, "language": "en-GB", "label_names": {"PER": "Person"}}
    del files[mar.DIGESTS]
    path = tmp_path / "told.mar"
    path.write_bytes(mar.pack({**files, "bundle/config.json": json.dumps(config).encode()}))

    assert run("inspect", path) == 0
    assert [line for line in capsys.readouterr().out.splitlines()[3:] if not line.startswith(" ")] == lines
    assert run("inspect", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["about"] == config["about"]


@pytest.mark.parametrize(("command", "missing"), [("archive", "config.json: missing"), ("inspect", "cannot be read")])
def test_what_is_missing_is_one_line_and_status_5(tmp_path, capsys, command, missing):
    assert run(command, tmp_path / "nothing") == 5

    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert missing in error[0]


def test_lines_that_nobody_reads_end_the_command_quietly(built):
    ours, theirs = os.pipe()
    os.close(ours)

    command = [sys.executable, "-m", "nerserve.cli", "inspect", built]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)

    os.close(theirs)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bundle": "README.md"}, (5, "README.md: config.json: cannot be read: Not a directory")),
        ({"--model-config": "nope.yaml"}, (2, "nope.yaml: cannot be read: No such file or directory")),
        ({"--model-config": "."}, (2, ".: cannot be read: Is a directory")),
        ({"--model-store": "README.md"}, (2, "README.md: expected a folder to write to: File exists")),
        ({"--model-store": "README.md/store"}, (2, "README.md/store: expected a folder to write to: Not a directory")),
        ({"--model-version": "2/0"}, (2, "--model-version: expected N, N.N or N.N.N, got '2/0'")),
        ({"--name": "../en"}, (2, f"--name: expected {MODEL_NAME_RULE}, got '../en'")),
    ],
    ids=str,
)
def test_an_ordinary_mistake_is_one_line(tiny_bundle, elsewhere, capsys, change, expected):
    status, problem = expected
    (elsewhere / "README.md").touch()
    bundle, *options = [word for option in ({"bundle": tiny_bundle} | change).items() for word in option][1:]

    assert run("archive", bundle, *options) == status

    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nerserve: ")]
    assert error.endswith(problem)


def test_a_model_config_of_ones_own_is_taken_by_the_command(tiny_bundle, tmp_path):
    (tmp_path / "mine.yaml").write_text("minWorkers: 3\nmaxWorkers: 3\n")

    options = ("--model-store", tmp_path, "--model-version", "9", "--model-config", tmp_path / "mine.yaml")
    run("archive", tiny_bundle, *options)

    assert mar.read(tmp_path / "tiny.mar")[1][mar.MODEL_CONFIG].startswith(b"minWorkers: 3")


def test_what_a_build_that_was_killed_has_left_is_removed_by_the_next(tiny_bundle, tmp_path):
    (tmp_path / ".building-abc" / "staged").mkdir(parents=True)

    build_mar(tiny_bundle, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["tiny.mar"]


@pytest.mark.parametrize("package", ["contract", "handler"])
def test_the_probe_refuses_what_is_not_from_the_archive(built, package):
    files = mar.read(built)[1]
    others = {name: content for name, content in files.items() if not name.startswith(f"{package}/")}

    status, said = _probe(others, 120.0)  # the package is missing: the checkout's would be taken

    assert status == 1
    assert f"{package} was not loaded from the archive" in said
