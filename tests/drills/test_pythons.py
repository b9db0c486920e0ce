"""nerserve on the other Pythons that it supports: unit and contract tests, the main job, and the same bytes.

Each has a copy of this checkout with a .venv of its own, made by scripts/install.  Its torch comes from pip's own
index, so that this runs where PyTorch's cannot be reached: with CUDA, 5 GB, and half an hour for each Python.

    scripts/test tests/drills/test_pythons.py     python3.12 and python3.13
    scripts/test tests/drills/test_pythons.py --drill-pythons /opt/python/3.13/bin/python3 --drill-folder ~/pythons
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

ROOT = Path(__file__).parents[2]
NAMES = "python3.12,python3.13"
TESTS = ["tests/unit", "tests/contract"]
#: It installs torch from an index of its own, without what a torch with CUDA needs.
NOT_HERE = "tests/contract/test_stock_torchserve.py"
MAIN_JOB = ["tests/e2e/test_answers.py", "tests/e2e/test_operate.py"]

SENTENCES = ["B-PER Ada", "O wrote to", "B-PER Alan", "I-PER Turing", "O from", "B-LOC London", "O yesterday ."]
WORDS = ["ada", "alan", "turing", "wrote", "to", "from", "london", "yesterday", "."]
SETTINGS = '{"model": {"hidden_dim": 16, "char_dim": 8}, "training": {"max_epochs": 30}}'
NAMING_THE_RUN = {"metrics.json", "MODEL_CARD.md"}
"""Files of a bundle that name the Python and the time of its training."""


def pytest_generate_tests(metafunc):
    names = metafunc.config.getoption("drill_pythons") or NAMES
    metafunc.parametrize("checkout", names.split(","), indirect=True, scope="module")


@pytest.fixture(scope="module")
def checkout(request, pytestconfig, tmp_path_factory):
    """A copy of this checkout, in whose .venv that Python is with all that the tests need."""
    version = version_of(request.param)
    parent = pytestconfig.getoption("drill_folder")
    folder = (Path(parent).expanduser() if parent else tmp_path_factory.mktemp("pythons")) / version
    copy_sources(folder)
    if not (folder / ".venv").exists():
        print(f"{folder}: installing torch with CUDA for Python {version}, 5 GB")
        run(folder, request.param, "-m", "venv", ".venv")
        torch = (ROOT / "requirements" / "torch.txt").read_text().partition("\ntorch==")[2].split()[0]
        run(folder, ".venv/bin/python", "-m", "pip", "install", "--quiet", f"torch=={torch}")
    run(folder, "scripts/install", "serve", "web", "archive", "train", "test", NERSERVE_TORCH_INDEX="")
    return folder


def version_of(program):
    """``"3.13"``; a program that is no Python fails the drill."""
    found = shutil.which(program)
    shown = subprocess.run(
        [found or "false", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        pytest.fail(f"{program} is no Python that runs: install it, or name others with --drill-pythons", pytrace=False)
    return shown.stdout.strip()


def copy_sources(folder):
    """What git would commit of this checkout, in the place of what was in *folder* but its .venv."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name != ".venv":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def run(folder, program, *arguments, **variables):
    """Run *program* in *folder*, in the terminal; it must end well."""
    subprocess.run([program, *arguments], cwd=folder, env=os.environ | variables, check=True)


def test_unit_and_contract_tests_pass(checkout):
    options = ["-q", "--numprocesses", "logical", "--maxprocesses", "4", "--dist", "loadfile", f"--ignore={NOT_HERE}"]

    run(checkout, ".venv/bin/python", "-m", "pytest", *options, *TESTS)


def test_it_archives_serves_answers_and_scales(checkout):
    run(checkout, ".venv/bin/python", "-m", "pytest", "-q", *MAIN_JOB)


def test_archives_and_bundles_are_the_same_bytes(checkout, tmp_path):
    ours = made_by(sys.executable, tmp_path / "ours")

    theirs = made_by(checkout / ".venv/bin/python", tmp_path / "theirs")

    print(*(f"{digest}  {name}" for name, digest in ours.items()), sep="\n")
    assert len(ours) > 4
    assert theirs == ours


def made_by(python, folder):
    """SHA-256 of each file of an archive of models/en and of a small bundle that *python* trains, by its name."""
    train, dev, vectors, settings = (
        folder / name for name in ("train.conll", "dev.conll", "vectors.txt", "settings.json")
    )
    folder.mkdir()
    lines = [f"{word} {tag}" for tag, *words in map(str.split, SENTENCES) for word in words]
    for corpus, num_sentences in ((train, 20), (dev, 5)):
        corpus.write_text("\n\n".join(["\n".join(lines)] * num_sentences) + "\n")
    vectors.write_text("".join(f"{word} {number}.5 -{number} 0.25 1\n" for number, word in enumerate(WORDS)))
    settings.write_text(SETTINGS)
    nerserve = [python, "-m", "nerserve.cli"]
    data = ["--train", train, "--dev", dev, "--vectors", vectors, "--config", settings, "--run", folder / "run"]

    run(ROOT, *nerserve, "archive", "models/en", "--model-store", folder / "store")
    run(ROOT, *nerserve, "train", *data, "--seed", "7", "--threads", "1", "--out", folder / "tiny")

    files = [*folder.glob("store/*.mar"), *(path for path in folder.rglob("tiny/**/*") if path.is_file())]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.name not in NAMING_THE_RUN
    }
