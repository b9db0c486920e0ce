"""The settings of a training: listed, and refused with what was probably meant."""

import dataclasses
import json

import pytest

from handler.config import About, ModelConfig, TrainingConfig
from nerserve.cli import main


@pytest.fixture
def config(tmp_path):
    """Writes a file of settings."""

    def write(content):
        (tmp_path / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return str(tmp_path / "config.json")

    return write


def test_every_setting_is_listed_with_its_default_and_meaning(capsys):
    assert main(["train", "--show-settings", "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)
    defaults = {"model": ModelConfig(labels=("X",)), "training": TrainingConfig(), "about": About()}
    expected = {
        f"{part}.{key}": value for part, one in defaults.items() for key, value in dataclasses.asdict(one).items()
    }
    assert [setting["name"] for setting in listed] == list(expected)
    assert {setting["name"]: setting["default"] for setting in listed} == {
        **expected, "model.labels": None, "model.word_dim": None
    }  # fmt: skip
    assert all(setting["meaning"].endswith(".") for setting in listed)
    assert all(setting["value"] is None for setting in listed)


def test_a_file_shows_what_it_changes(config, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    changes = {"model": {"hidden_dim": 256, "char_dim": 30}, "training": {"perturbations": {}}}
    path = config({**changes, "about": {"language": "en"}})

    assert main(["train", "--config", path, "--show-settings"]) == 0

    head, *lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:3] for line in lines if not line.startswith(" ")}
    assert head.split() == ["setting", "default", "now", "meaning"]
    assert rows["model.hidden_dim"] == ["200", "256"]
    assert rows["model.char_dim"] == ["30", "Width"]  # as it was
    assert rows["training.perturbations"] == ["...", "{}"]
    assert rows["about.language"] == ["null", '"en"']
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"training": {"epochs": 3}}, "training.epochs: unknown key; did you mean max_epochs?"),
        ({"training": {"learning-rate": 1}}, "training.learning-rate: unknown key; did you mean learning_rate?"),
        ({"training": {"zzz": 1}}, "training.zzz: unknown key"),
        ({"model": {"dropout": 0.1}}, "model.dropout: unknown key; it is a setting of training"),
        (
            {"hidden_dim": 256},
            "with the keys model, training and about, got 'hidden_dim'; hidden_dim is a setting of model",
        ),
        ({"trainig": {}}, "with the keys model, training and about, got 'trainig'; did you mean training?"),
        ({"model": {"labels": ["PER"]}}, "model.labels: expected to be left out, it comes from the training files"),
        ({"training": {"dropout": 2}}, "training.dropout: expected a share in [0, 1), got 2"),
        ({"about": {"lang": "en"}}, "about.lang: unknown key; did you mean language?"),
        (
            {"about": {"language": "English"}},
            "about.language: expected a BCP 47 tag, such as en or pt-BR, got 'English'",
        ),
        ({"about": {"description": "a\nb"}}, "about.description: expected a line of at most 200 characters, got"),
        ({"about": {"label_names": ["Person"]}}, "about.label_names: expected an object of strings, got ['Person']"),
        ({"about": {"seed": 1}}, "about.seed: unknown key; it is a setting of training"),
        ({"training": {"language": "en"}}, "training.language: unknown key; it is a setting of about"),
        ({"language": "en"}, "got 'language'; language is a setting of about"),
        ({"model": 7}, "model: expected an object, got 7"),
        ([], "expected an object with the keys model, training and about"),
        ("{", "expected JSON: "),
        ('{"training": {"seed": 1, "seed": 2}}', "expected JSON: seed stands twice in an object"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(config, capsys, content, problem):
    path = config(content)

    assert main(["train", "--show-settings", "--config", path]) == 2

    said = capsys.readouterr().err
    assert said.startswith(f"nerserve: {path}: ")
    assert problem in said


def test_without_it_the_files_are_required(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train"])

    assert stopped.value.code == 2
    assert "required: --train, --dev, --vectors, --out" in capsys.readouterr().err
