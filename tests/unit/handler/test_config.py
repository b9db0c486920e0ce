"""``config.json``: what goes in comes out, and every mistake is named."""

import json

import pytest

from handler.config import BundleConfig, ModelConfig, TrainingConfig, model_config
from handler.errors import ConfigError

CONFIG = BundleConfig(
    name="en",
    version="1.0",
    model=ModelConfig(labels=("PER", "creative-work")),
    training=TrainingConfig(seed=3),
    digests={"vocab.json": "sha256:00"},
)


def write(folder, change=lambda _: None):
    document = json.loads(CONFIG.to_json())
    change(document)
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


def test_a_configuration_comes_back_from_its_file(tmp_path):
    assert BundleConfig.load(write(tmp_path)) == CONFIG
    assert BundleConfig.load(write(tmp_path)).to_json() == CONFIG.to_json()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(format=2), "config.format: expected 1, got 2"),
        (lambda d: d.pop("format"), "config.format: expected 1, got None"),
        (lambda d: d.update(nmae="x"), "config.nmae: unknown key"),
        (lambda d: d.pop("version"), "config.version: missing"),
        (lambda d: d.update(version=1), "config.version: expected a string, got 1"),
        (lambda d: d.update(version="new"), "config.version: expected N, N.N or N.N.N, got 'new'"),
        (lambda d: d.update(name="../en"), "config.name: expected letters"),
        (lambda d: d.update(digests=[]), "config.digests: expected an object of strings"),
        (lambda d: d.update(digests={"a": 1}), "config.digests: expected an object of strings"),
        (lambda d: d.update(model=[]), "model: expected an object"),
        (lambda d: d["model"].update(hidden=1), "model.hidden: unknown key"),
        (lambda d: d["model"].pop("hidden_dim"), "model.hidden_dim: missing"),
        (lambda d: d["model"].update(hidden_dim="200"), "model.hidden_dim: expected a whole number, got '200'"),
        (lambda d: d["model"].update(hidden_dim=True), "model.hidden_dim: expected a whole number, got True"),
        (lambda d: d["model"].update(hidden_dim=201), "model.hidden_dim: expected a positive even number, got 201"),
        (lambda d: d["model"].update(char_kernel=2), "model.char_kernel: expected an odd number, got 2"),
        (lambda d: d["model"].update(word_dim=0), "model.word_dim: expected a positive number, got 0"),
        (lambda d: d["model"].update(scheme="BILOU"), "model.scheme: expected one of BIO, IOBES, got 'BILOU'"),
        (lambda d: d["model"].update(scheme=1), "model.scheme: expected a string, got 1"),
        (lambda d: d["model"].update(labels=[]), "model.labels: expected at least one label"),
        (lambda d: d["model"].update(labels=["PER", "PER"]), "model.labels: expected distinct labels"),
        (lambda d: d["model"].update(labels=["<b>"]), "model.labels: expected letters"),
        (lambda d: d["model"].update(labels=[1]), "model.labels: expected a list of strings"),
        (lambda d: d["training"].update(dropout=1), "training.dropout: expected a share in"),
        (lambda d: d["training"].update(dropout="x"), "training.dropout: expected a number, got 'x'"),
        (lambda d: d["training"].update(learning_rate=0), "training.learning_rate: expected a positive number"),
    ],
)
def test_a_mistake_is_named_with_the_value_it_got(tmp_path, change, problem):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, change))

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b"[]", "expected an object"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"format": 1, "format": 1}', "'format' stands twice"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_file_that_is_no_object_is_refused(tmp_path, content, problem):
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=problem):
        BundleConfig.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: missing"):
        BundleConfig.load(tmp_path / "config.json")


def test_defaults_fill_in_only_where_they_are_given():
    assert model_config({"hidden_dim": 8}, **vars(ModelConfig(labels=("PER",)))).hidden_dim == 8
    with pytest.raises(ConfigError, match=r"model\.case_dim: missing"):
        model_config({"labels": ["PER"]})
