"""Bundles of earlier formats and of other text rules: refused by every command, and renewed by one."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from archive import mar
from handler.bundle import Bundle
from handler.config import BundleConfig, Calibration
from handler.digests import file_digest
from handler.tagger import Tagger
from handler.text.rules import TEXT_RULES
from nerserve.cli import main
from training.errors import RunError
from training.output import check_output

TEXT = "Apple met Obama in Paris. The 2000 apples, Obama and Apple!"

#: The keys of a file of format 1, with the values of the tiny bundle; the later formats are what was changed in them.
FORMAT_1 = {
    "format": 1,
    "name": "tiny",
    "version": "1.0",
    "model": {
        "labels": ["LOC", "PER"],
        "scheme": "IOBES",
        "word_dim": 6,
        "char_dim": 4,
        "char_filters": 5,
        "char_kernel": 3,
        "max_word_chars": 8,
        "case_dim": 3,
        "hidden_dim": 8,
        "max_chars": 10000,
    },
    "training": {
        "seed": 0,
        "max_epochs": 12,
        "patience": 12,
        "batch_size": 32,
        "learning_rate": 0.002,
        "clip_norm": 5.0,
        "ema_decay": 0.999,
        "dropout": 0.5,
        "word_dropout": 0.05,
        "min_char_count": 3,
    },
    "digests": {},
}
SETTINGS_2 = {
    "corpus_shares": {"train-gmb": 0.4},
    "unannotated": {"train-btc": ["LOC"]},
    "perturbations": {"lower": 0.08},
}
CALIBRATION = {"slope": 0.7462, "offsets": {"LOC": -0.0459, "PER": 0.0755}}


def of_format(number):
    """``config.json`` of the tiny bundle as a version of that time wrote it, without digests."""
    document = json.loads(json.dumps(FORMAT_1)) | {"format": number}
    if number >= 2:
        document["training"] |= SETTINGS_2
        document["calibration"] = CALIBRATION
    if number >= 3:
        del document["model"]["max_chars"]
    return document


@pytest.fixture
def old(tiny_bundle, tmp_path):
    """``old(number, change=...)``: the folder of a tiny bundle in a format; in format 4, of other text rules."""

    def write(number, change=lambda _: None):
        folder = shutil.copytree(tiny_bundle, tmp_path / "models" / "old")
        document = json.loads((folder / "config.json").read_text())
        if number == 4:
            document["rules"] = {"tokens": 1, "poems": 7}
        else:
            document = of_format(number) | {"digests": document["digests"]}
        change(document)
        (folder / "config.json").write_text(json.dumps(document, indent=2) + "\n")
        return folder

    return write


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # by argparse
        return stopped.code


def renewed(capsys, *arguments):
    """What ``nerserve renew --json`` says has changed."""
    assert run("renew", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)["changes"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_bundle_of_an_earlier_format_is_the_same_model_when_renewed(old, tiny_bundle, tmp_path, capsys, number):
    folder, new = old(number), tmp_path / "models" / "new"
    before = files(folder)

    changes = renewed(capsys, folder, "--out", new)

    assert files(folder) == before
    after = files(new)
    assert {name for name in before if before[name] != after[name]} == {"config.json"}
    assert after.keys() == before.keys()
    bundle, same = Bundle.load(new), Bundle.load(tiny_bundle)
    for name, tensor in same.model.state_dict().items():
        torch.testing.assert_close(bundle.model.state_dict()[name], tensor, rtol=0, atol=0)
    calibration = Calibration(0.7462, {"LOC": -0.0459, "PER": 0.0755}) if number > 1 else None
    expected = Tagger(replace(same, config=replace(same.config, calibration=calibration))).tag([TEXT])
    assert expected != [[]]
    assert Tagger(bundle).tag([TEXT]) == expected
    training = of_format(number)["training"]
    settings = {"corpus_shares": {}, "unannotated": {}, "perturbations": {}} | training
    document = json.loads(after["config.json"])
    assert document["training"] == settings
    assert document["about"] == {"description": "", "language": None, "label_names": {}}
    assert document["profile"] is None
    assert changes["format"] == [number, 4]
    assert changes["rules.tokens"] == [1, TEXT_RULES["tokens"]]
    assert changes["digest"] == [file_digest(path / "config.json") for path in (folder, new)]


def test_a_model_of_other_text_rules_is_renewed_in_its_place(old, capsys):
    folder = old(4)
    before = files(folder)

    changes = renewed(capsys, folder, "--overwrite")

    assert {name for name, content in files(folder).items() if before[name] != content} == {"config.json"}
    assert json.loads((folder / "config.json").read_text())["rules"] == TEXT_RULES
    assert changes["rules.poems"] == [7, None]
    assert "format" not in changes
    assert Bundle.load(folder).digest == changes["digest"][1]


def test_what_is_up_to_date_is_left_as_it_is(old, capsys):
    folder = old(3)
    renewed(capsys, folder, "--overwrite")
    before = (folder / "config.json").stat().st_mtime_ns

    assert renewed(capsys, folder, "--overwrite") == {}
    assert run("renew", folder, "--overwrite") == 0

    assert capsys.readouterr().out == f"{folder}: up to date\n"
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_people_are_told_what_is_new_and_how_to_measure_it(old, capsys):
    folder = old(2)

    assert run("renew", folder, "--overwrite", "--description", "Names in news", "--language", "de") == 0

    out = capsys.readouterr().out
    assert out.startswith(f"{folder}: renewed\n  format: 2 -> 4\n")
    assert f"\n  rules.tokens: 1 -> {TEXT_RULES['tokens']}\n" in out
    assert "\n  about.description: none -> Names in news\n  about.language: none -> de\n  digest: sha256:" in out
    assert "entities and scores may differ a little" in out
    assert f"nerserve evaluate {folder} FILE" in out


def test_what_it_says_of_itself_comes_from_settings_and_options_and_stays(old, tmp_path, capsys):
    folder = old(3)
    about = {"description": "News", "language": "en", "label_names": {"PER": "Person"}}
    (tmp_path / "settings.json").write_text(json.dumps({"about": about, "training": {"max_epochs": 3}}))

    renewed(capsys, folder, "--overwrite", "--config", tmp_path / "settings.json", "--language", "en-GB")
    again = renewed(capsys, folder, "--overwrite", "--description", "")

    document = json.loads((folder / "config.json").read_text())
    assert document["about"] == {"description": "", "language": "en-GB", "label_names": {"PER": "Person"}}
    assert document["training"]["max_epochs"] == 12
    assert again.keys() == {"about.description", "digest"}


def test_the_bundle_in_an_archive_is_renewed_under_the_archives_name(old, tmp_path, capsys):
    model = {"modelName": "news", "modelVersion": "2.1", "handler": mar.ENTRY_POINT}
    content = {f"bundle/{name}": content for name, content in files(old(3)).items()}
    content |= {mar.MANIFEST: json.dumps({"model": model}).encode(), mar.ENTRY_POINT: b"", mar.MODEL_CONFIG: b""}
    archive = tmp_path / "news.mar"
    archive.write_bytes(mar.pack(content))

    assert run("predict", "x", "--model", archive) == 5
    assert f"{archive}: config.format: expected 4, got 3; nerserve renew BUNDLE" in capsys.readouterr().err
    assert renewed(capsys, archive, "--out", tmp_path / "news")["rules.tokens"] == [1, TEXT_RULES["tokens"]]

    config = Bundle.load(tmp_path / "news").config
    assert (config.name, config.version) == ("news", "2.1")
    for where in ([], ["--out", archive]):
        assert run("renew", archive, *where, "--overwrite") == 2
        assert "--out: expected a folder for the bundle in the archive" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize(
    "command",
    [
        "archive OLD --model-store store",
        "predict x --model OLD",
        "evaluate OLD news.conll",
        "train --train news.conll --dev dev.conll --init OLD --out new",
        "train --train news.conll --dev dev.conll --vectors OLD --out new",
        "bench storage OLD --vectors none.txt --dev dev.conll",
    ],
)
def test_every_command_names_the_one_that_renews(old, tmp_path, capsys, command, number):
    folder = old(number)
    (tmp_path / "news.conll").write_text("Ann\tB-PER\nmet\tO\nBob\tB-PER\n")
    (tmp_path / "dev.conll").write_text("Bob\tB-PER\nmet\tO\nAnn\tB-PER\n")

    with contextlib.chdir(tmp_path):
        status = run(*(folder if word == "OLD" else word for word in command.split()))

    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{folder}: " in last
    assert last.endswith("; nerserve renew BUNDLE --out NEW brings it up to date")
    assert status == (2 if "--vectors OLD --out" in command else 5)


@pytest.mark.parametrize(
    ("number", "change", "problem"),
    [
        (1, lambda d: d.update(calibration=None), "config.calibration: unknown key"),
        (1, lambda d: d["training"].update(perturbations={}), "training.perturbations: unknown key"),
        (2, lambda d: d["model"].pop("max_chars"), "model.max_chars: missing"),
        (2, lambda d: d.update(model=[]), "model: expected an object, got []"),
        (2, lambda d: d.update(training=None), "training: expected an object, got None"),
        (3, lambda d: d["model"].update(max_chars=1), "model.max_chars: unknown key"),
        (3, lambda d: d.update(about={}), "config.about: unknown key"),
        (3, lambda d: d.pop("digests"), "config.digests: missing"),
        (3, lambda d: d["model"].update(hidden_dim=7), "model.hidden_dim: expected an even number"),
        (3, lambda d: d["digests"].update({"vocab.json": "sha256:0"}), "vocab.json: expected sha256:0, got sha256:"),
        (3, lambda d: d["digests"].pop("weights.npz"), "weights.npz: config.json has no digest of it"),
        (4, lambda d: d.update(format=5), "config.format: expected 4, got 5"),
        (4, lambda d: d.update(rules=None), "config.rules: expected an object of whole numbers, got None"),
        (4, lambda d: d.pop("rules"), "config.rules: missing"),
        (4, lambda d: d.clear(), "config.format: expected 4, got None"),
    ],
)
def test_what_no_version_has_written_is_refused_and_stays(old, capsys, number, change, problem):
    folder = old(number, change)
    before = files(folder)

    for where in (("--overwrite",), ("--out", folder.with_name("new"))):
        assert run("renew", folder, *where) == 5
        assert capsys.readouterr().err.startswith(f"nerserve: {folder}: {problem}")

    assert files(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    "mistake",
    [
        (["OLD"], 2, "--out: expected another folder, or --overwrite to renew "),
        (["OLD", "--out", "OLD"], 2, "--out: expected another folder, or --overwrite to renew "),
        (["OLD", "--out", "OLD/new"], 2, "expected a folder that is not within the bundle"),
        (["OLD", "--out", "other"], 2, "other: holds another bundle; --out takes another folder, --overwrite"),
        (["OLD", "--out", "thesis", "--overwrite"], 2, "thesis: holds no bundle, and is not replaced by one"),
        (["OLD", "--out", "thesis/thesis.tex"], 2, "thesis.tex: expected a folder for the bundle, got a file"),
        (["OLD", "--overwrite", "--language", "English"], 2, "--language: expected a BCP 47 tag, such as en or pt-BR"),
        (["OLD", "--overwrite", "--description", "a\nb"], 2, "--description: expected a line of at most 200"),
        (["OLD", "--overwrite", "--config", "none.json"], 2, "none.json: cannot be read: No such file"),
        (["OLD", "--overwrite", "--config", "labels.json"], 2, "about.label_names: expected labels among LOC, PER,"),
        (["none", "--overwrite"], 5, "none: config.json: missing"),
        (["none", "--out", "new"], 5, "none: config.json: missing"),
        (["labels.json", "--out", "new"], 5, "labels.json: damaged, cut off or no zip file"),
    ],
    ids=lambda mistake: " ".join(mistake[0]),
)
def test_a_mistake_is_one_line_and_changes_nothing(old, make_bundle, tmp_path, capsys, mistake):
    (arguments, status, problem), folder = mistake, old(3)
    make_bundle(seed=8).save(tmp_path / "other")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    (tmp_path / "labels.json").write_text('{"about": {"label_names": {"ORG": "Firm"}}}')
    before = files(tmp_path)

    with contextlib.chdir(tmp_path):
        assert run("renew", *(word.replace("OLD", str(folder)) for word in arguments)) == status

    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nerserve: ")]
    assert problem in said
    assert files(tmp_path) == before


def test_a_bundle_elsewhere_is_replaced_if_that_is_said(old, make_bundle, tmp_path, capsys):
    folder, other = old(2), tmp_path / "other"
    make_bundle(seed=8).save(other)

    renewed(capsys, folder, "--out", other, "--overwrite")

    assert Bundle.load(other).config.calibration is not None
    assert [path.name for path in tmp_path.iterdir() if "other" in path.name] == ["other"]


def test_a_training_may_replace_a_bundle_of_an_earlier_format(old):
    folder = old(1)

    check_output(folder, folder.parent / "run", overwrite=True)
    with pytest.raises(RunError, match="holds another bundle"):
        check_output(folder, folder.parent / "run")


KEEPS_RENEWING = """
import shutil, sys
from pathlib import Path
from training.renewal.renew import renew
old, out = map(Path, sys.argv[1:])
aside = out.with_name("aside")
while True:
    if out == old:
        shutil.copyfile(aside / "config.json", old / "config.json.next")
        (old / "config.json.next").rename(old / "config.json")
    renew(old, None if out == old else out, overwrite=True)
    print("renewed", flush=True)
"""


@pytest.mark.parametrize("where", ["in its place", "elsewhere"])
@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.011])
def test_a_kill_leaves_whole_bundles_alone(old, tmp_path, capsys, where, seconds):
    folder = old(3)
    shutil.copytree(folder, folder.with_name("aside"))
    out = folder if where == "in its place" else folder.with_name("new")

    with subprocess.Popen([sys.executable, "-c", KEEPS_RENEWING, folder, out], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()

    assert out.exists() or where == "elsewhere"  # between two renames there may be none
    renewed(capsys, folder, *(["--overwrite"] if out == folder else ["--out", out, "--overwrite"]))
    assert BundleConfig.load(out / "config.json").digests == Bundle.load(out).config.digests
