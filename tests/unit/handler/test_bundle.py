"""A bundle on disk: whole or refused, the file at fault named."""

import io
import json
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.bundle import Bundle
from handler.config import BundleConfig
from handler.digests import file_digest
from handler.errors import BundleError
from handler.vectors import WordVectors


@pytest.fixture
def folder(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "tiny")


def reseal(folder):
    """Bring the digests up to date, as somebody would who means to change a file."""
    document = json.loads((folder / "config.json").read_text())
    document["digests"] = {name: file_digest(folder / name) for name in document["digests"]}
    (folder / "config.json").write_text(json.dumps(document))


def test_a_bundle_comes_back_from_its_folder(folder, make_bundle):
    loaded = Bundle.load(folder)

    made = make_bundle()
    assert loaded.chars == made.chars
    assert loaded.digest == file_digest(folder / "config.json")
    for name, tensor in made.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert not loaded.model.training


def test_saving_again_gives_the_same_bytes(folder, tmp_path):
    again = Bundle.load(folder).save(tmp_path / "again")

    assert again.digest == file_digest(folder / "config.json")
    for name in again.config.digests:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_saving_over_a_bundle_replaces_it_whole(folder, make_bundle):
    (folder / "stray.txt").write_text("old")

    make_bundle(seed=8).save(folder)

    assert not (folder / "stray.txt").exists()
    assert Bundle.load(folder).digest == file_digest(folder / "config.json")


@pytest.mark.parametrize("seconds", [0.005, 0.02, 0.05])
def test_a_kill_leaves_a_whole_bundle_or_none_and_the_next_save_goes_through(folder, tmp_path, seconds):
    target = tmp_path / "target"
    script = """
import sys
from pathlib import Path
from handler.bundle import Bundle
bundle = Bundle.load(Path(sys.argv[1]))
bundle.save(Path(sys.argv[2]))
print("saved", flush=True)
while True:
    bundle.save(Path(sys.argv[2]))
"""
    with subprocess.Popen([sys.executable, "-c", script, folder, target], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()

    if target.exists():
        Bundle.load(target)
    Bundle.load(folder).save(target)
    assert [path.name for path in tmp_path.iterdir() if "target" in path.name] == ["target"]


@pytest.mark.parametrize("there", ["a folder", "a file"])
def test_what_is_no_bundle_is_not_replaced(make_bundle, tmp_path, there):
    precious = tmp_path / "precious"
    if there == "a folder":
        precious.mkdir()
        (precious / "thesis.txt").write_text("years of work")
    else:
        precious.write_text("years of work")

    with pytest.raises(BundleError, match="precious: holds no bundle"):
        make_bundle().save(precious)

    assert "years of work" in (precious / "thesis.txt" if there == "a folder" else precious).read_text()
    assert list(tmp_path.iterdir()) == [precious]


@pytest.mark.parametrize("there", ["a bundle", "an empty folder", "nothing"])
def test_a_bundle_is_saved_behind_a_symbolic_link(make_bundle, tmp_path, there):
    target, link = tmp_path / "target", tmp_path / "link"
    if there == "a bundle":
        make_bundle(seed=8).save(target)
    if there == "an empty folder":
        target.mkdir()
    link.symlink_to(target, target_is_directory=True)

    saved = make_bundle().save(link)

    assert link.is_symlink()
    assert Bundle.load(target).digest == saved.digest
    assert set(tmp_path.iterdir()) == {target, link}


@pytest.mark.parametrize("name", [".", "../tiny", "inner/.."])
def test_a_bundle_replaces_another(folder, make_bundle, monkeypatch, name):
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder)

    saved = make_bundle(seed=8).save(Path(name))

    assert Bundle.load(folder).digest == saved.digest


def test_an_empty_folder_may_become_a_bundle(make_bundle, tmp_path):
    (tmp_path / "empty").mkdir()

    make_bundle().save(tmp_path / "empty")

    assert Bundle.load(tmp_path / "empty").config.name == "tiny"


def test_prose_may_be_edited(folder):
    (folder / "MODEL_CARD.md").write_text("# better words\n")

    assert Bundle.load(folder).config.name == "tiny"


@pytest.mark.parametrize(
    "name", ["vocab.json", "weights.npz", "vectors/table.npy", "vectors/index.npy", "vectors/scales.npy"]
)
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_missing_or_changed_file_is_refused_by_name(folder, name, damage):
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    with pytest.raises(BundleError, match=f"{name}: {'missing' if damage == 'missing' else 'expected sha256:'}"):
        Bundle.load(folder)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"config\.json: missing"):
        Bundle.load(tmp_path)


def edit_config(folder, change):
    document = json.loads((folder / "config.json").read_text())
    change(document)
    (folder / "config.json").write_text(json.dumps(document))


def test_a_file_without_a_digest_is_refused(folder):
    edit_config(folder, lambda document: document["digests"].pop("vectors/scales.npy"))

    with pytest.raises(BundleError, match=r"vectors/scales\.npy: config\.json has no digest of it"):
        Bundle.load(folder)


def test_a_digest_of_a_file_outside_is_refused(folder):
    edit_config(folder, lambda document: document["digests"].update({"../other": "sha256:0"}))

    with pytest.raises(BundleError, match=r"\.\./other: expected a path inside the bundle"):
        Bundle.load(folder)


def save_weights(path, change):
    with np.load(path) as arrays:
        weights = dict(arrays)
    change(weights)
    np.savez(path, **weights)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: w.pop("linear.bias"), "linear.bias: missing"),
        (lambda w: w.update(extra=np.zeros(1, np.float32)), "extra: no parameter of this model"),
        (
            lambda w: w.update({"linear.bias": np.zeros(3, np.float32)}),
            r"linear.bias: expected float32 of shape \(9,\), got float32 of \(3,\)",
        ),
        (lambda w: w.update({"linear.bias": np.zeros(9)}), r"linear.bias: expected float32 .* got float64"),
        (lambda w: w.update({"linear.bias": np.full(9, np.nan, np.float32)}), "linear.bias: expected finite weights"),
        (lambda w: w.update({"linear.bias": np.array([{}] * 9)}), "linear.bias: expected float32 .* got object"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(folder, change, problem):
    save_weights(folder / "weights.npz", change)
    reseal(folder)

    with pytest.raises(BundleError, match=f"weights.npz: {problem}"):
        Bundle.load(folder)


def header_of(shape):
    """A .npy file that says it has float32 of *shape*, with nothing behind the header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header_of((10**14,)), r"linear\.bias: expected float32 of shape \(9,\), got float32 of \(100000000000000,\)"),
        (header_of((9,)), r"linear\.bias: expected 36 bytes, got 0"),
        (b"no array", r"expected an \.npz of plain arrays"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", r"expected an \.npz of plain arrays"),
    ],
    ids=["huge", "cut off", "no array", "long header"],
)
def test_weights_get_no_memory_before_what_they_say_is_compared(folder, content, problem):
    with zipfile.ZipFile(folder / "weights.npz") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert "linear.bias.npy" in entries
    with zipfile.ZipFile(folder / "weights.npz", "w") as archive:
        for name, array in (entries | {"linear.bias.npy": content}).items():
            archive.writestr(name, array)
    reseal(folder)

    with pytest.raises(BundleError, match=rf"weights\.npz: {problem}"):
        Bundle.load(folder)


@pytest.fixture
def little_memory():
    """No more than 1 GB beside what this process has."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"hidden_dim": 65_536}, r"weights\.npz: [a-z_.0-9]+: expected float32 of shape "),
        ({"char_filters": 65_536, "hidden_dim": 8_192}, r"weights\.npz: [a-z_.0-9]+: expected float32 of shape "),
        ({"case_dim": 65_536, "hidden_dim": 65_536}, r"weights\.npz: [a-z_.0-9]+: expected float32 of shape "),
        (
            {"char_dim": 65_536, "char_filters": 65_536, "char_kernel": 63},
            r"weights\.npz: .*: expected float32 of shape ",
        ),
        ({"hidden_dim": 10**9}, "model.hidden_dim: expected an even number from 2 to 65536"),
    ],
)
def test_a_configuration_gets_no_memory_that_its_files_do_not_fill(folder, little_memory, sizes, problem):
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= sizes
    (folder / "config.json").write_text(json.dumps(config))
    reseal(folder)

    with pytest.raises(BundleError, match=problem):
        Bundle.load(folder)


def test_a_directory_of_weights_that_says_more_than_the_file_has_is_refused(folder):
    path = folder / "weights.npz"
    size = path.stat().st_size
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # of the central directory
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)  # its sizes, packed and unpacked
    path.write_bytes(data)
    reseal(folder)

    with pytest.raises(BundleError, match=rf"weights\.npz: expected arrays within its {size} bytes"):
        Bundle.load(folder)


def test_compressed_weights_are_refused(folder):
    with np.load(folder / "weights.npz") as arrays:
        np.savez_compressed(folder / "weights.npz", **arrays)
    reseal(folder)

    with pytest.raises(BundleError, match=r"weights\.npz: expected arrays as they are, got compressed ones"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("vocab", "problem"),
    [
        ("{", "expected JSON"),
        ("9" * 5000, "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[]", 'expected an object with the one key "chars"'),
        ('{"chars": [], "words": []}', 'expected an object with the one key "chars"'),
        ('{"chars": "abc"}', "expected a list of single characters"),
        ('{"chars": ["ab"]}', "expected a list of single characters"),
        ('{"chars": ["a", "a"]}', "expected distinct characters"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(folder, vocab, problem):
    (folder / "vocab.json").write_text(vocab)
    reseal(folder)

    with pytest.raises(BundleError, match=f"vocab.json: {problem}"):
        Bundle.load(folder)


def test_a_vocabulary_of_another_size_does_not_fit_the_weights(folder):
    (folder / "vocab.json").write_text('{"chars": ["a"]}')
    reseal(folder)

    with pytest.raises(
        BundleError, match=r"weights\.npz: char_cnn\.embedding\.weight: expected float32 of shape \(5, 4\)"
    ):
        Bundle.load(folder)


def test_weights_that_are_no_zip_are_refused(folder):
    (folder / "weights.npz").write_bytes(b"PK\x03\x04 cut")
    reseal(folder)

    with pytest.raises(BundleError, match=r"weights\.npz: expected an \.npz"):
        Bundle.load(folder)


def test_vectors_of_another_width_are_refused(make_bundle):
    bundle = make_bundle()
    wide = WordVectors.new(["a"], np.ones((1, 9)), "int8")

    with pytest.raises(BundleError, match=r"vectors/table\.npy: expected width 6, got 9"):
        Bundle.new(bundle.config, bundle.chars, wide)


def test_the_configuration_knows_every_file_that_makes_the_answers(folder):
    config = BundleConfig.load(folder / "config.json")

    prose = {"config.json", "metrics.json", "MODEL_CARD.md"}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(config.digests) == files - prose


def test_loading_imports_no_compiler(tiny_bundle):
    """PyTorch's own would take a worker most of its start, and memory for as long as it lives."""
    code = (
        "import pathlib, sys, handler.bundle as b; b.Bundle.load(pathlib.Path(sys.argv[1]));"
        "print('torch._dynamo' in sys.modules)"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=True
    ).stdout

    assert loaded == "False\n"
