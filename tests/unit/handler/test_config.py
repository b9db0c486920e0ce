"""``config.json``: what goes in comes out, and every mistake is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.config import About, BundleConfig, Calibration, ModelConfig, Profile, TextCounts, TrainingConfig
from handler.errors import ConfigError
from handler.fields import dataclass_from
from handler.text.rules import TEXT_RULES

CONFIG = BundleConfig(
    name="en",
    version="1.0",
    model=ModelConfig(labels=("PER", "creative-work")),
    training=TrainingConfig(seed=3, corpus_shares={"news": 0.5}, unannotated={"news": ("PER",)}),
    digests={"vocab.json": "sha256:00"},
)
CALIBRATED = replace(CONFIG, calibration=Calibration(slope=0.8, offsets={"PER": 0.25, "creative-work": -1.0}))
ABOUT = About("Names in Brazilian news", "pt-BR", {"PER": "Pessoa"})
COUNTS = TextCounts(sentences=2, tokens=9, unseen_tokens=3, entities={"creative-work": 2, "PER": 1})
SCORES = (1, *[0] * 18, 2)
FULL = replace(CALIBRATED, about=ABOUT, profile=Profile(COUNTS, COUNTS, SCORES))


def write(folder, change=lambda _: None, config=CONFIG):
    document = json.loads(config.to_json())
    change(document)
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("config", [CONFIG, FULL], ids=["bare", "full"])
def test_a_configuration_comes_back_from_its_file(tmp_path, config):
    loaded = BundleConfig.load(write(tmp_path, config=config))

    assert loaded == config
    assert loaded.to_json() == config.to_json()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_earlier_format_is_refused_with_the_command_that_renews_it(tmp_path, number):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, lambda document: document.update(format=number)))

    assert str(caught.value) == (
        f"config.format: expected 4, got {number}; nerserve renew BUNDLE --out NEW brings it up to date"
    )


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"tokens": TEXT_RULES["tokens"] + 1}, f"tokens {TEXT_RULES['tokens'] + 1}"),
        ({"lines": TEXT_RULES["lines"] - 1}, f"lines {TEXT_RULES['lines'] - 1}"),
        ({"poems": 1}, "poems 1"),
    ],
)
def test_a_model_of_other_text_rules_is_refused_with_the_command_that_renews_it(tmp_path, change, got):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, lambda document: document["rules"].update(change)))

    expected, _, came = str(caught.value).partition(", got ")
    assert expected.startswith("config.rules: expected documents ")
    assert got in came
    assert came.endswith("; nerserve renew BUNDLE --out NEW brings it up to date")


@pytest.mark.parametrize("name", ["en", "en-social"])
def test_the_shipped_models_say_what_they_are(name):
    config = BundleConfig.load(Path("models") / name / "config.json")

    assert config.name == name
    assert config.about.language == "en"
    assert config.about.description
    assert sorted(config.about.label_names) == sorted(config.model.labels)


def test_the_order_of_labels_makes_no_other_model():
    offsets = dict(reversed(CALIBRATED.calibration.offsets.items()))
    counts = replace(COUNTS, entities=dict(reversed(COUNTS.entities.items())))
    names = {"creative-work": "Work", "PER": "Person"}

    assert replace(CONFIG, calibration=Calibration(0.8, offsets)).to_json() == CALIBRATED.to_json()
    assert replace(FULL, profile=Profile(counts, counts, SCORES)).to_json() == FULL.to_json()
    assert About(label_names=names).label_names == {"PER": "Person", "creative-work": "Work"}
    assert list(About(label_names=names).label_names) == ["PER", "creative-work"]


#: From RFC 5646, appendix A, where it has them.
TAGS = """
de fr ja mul und zh-Hant zh-cmn-Hans-CN zh-yue-HK sr-Latn-RS sl-rozaj-biske de-CH-1901 sl-nedis hy-Latn-IT-arevela de-DE
en-US es-419 de-CH-x-phonebk az-Arab-x-AZE-derbend en-US-u-islamcal zh-CN-a-myext-x-private en-a-myext-b-another EN
pt-br
""".split()


@pytest.mark.parametrize("tag", TAGS)
def test_a_language_tag_is_taken(tag):
    assert About(language=tag).language == tag


@pytest.mark.parametrize(
    "tag", ["", "e", "English", "a language", "en_US", "de-419-DE", "a-DE", "en-", "-en", "en\n", "эн"]
)
def test_what_is_no_language_tag_is_refused(tag):
    with pytest.raises(ConfigError, match=r"about\.language: expected a BCP 47 tag, such as en or pt-BR, got "):
        About(language=tag)


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "\u2028", " blank", "x" * 201, "\ud800", "a\x85b"])
def test_what_is_no_line_of_text_is_refused(text):
    with pytest.raises(ConfigError, match=r"about\.description: expected a line of at most 200 characters, got "):
        About(text)
    with pytest.raises(ConfigError, match=r"about\.label_names: expected 1 to 40 characters in a line for PER, got "):
        About(label_names={"PER": text})


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), max_size=30).map(str.strip))
def test_any_line_of_text_comes_back_from_the_file(text):
    config = replace(CONFIG, about=About(text))

    assert BundleConfig.from_document(json.loads(config.to_json())) == config


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p["train"].update(tokens=-1), "profile.tokens: expected a number from 0 on, got -1"),
        (lambda p: p["train"].update(unseen_tokens=10), "profile.unseen_tokens: expected at most the 9 tokens, got 10"),
        (lambda p: p["train"].update(tokens=9.0), "profile.train.tokens: expected a whole number, got 9.0"),
        (lambda p: p["dev"].pop("entities"), "profile.dev.entities: missing"),
        (
            lambda p: p["dev"]["entities"].update(PER=-1),
            "profile.entities: expected a number from 0 on for PER, got -1",
        ),
        (lambda p: p.update(dev=[]), "profile.dev: expected an object, got []"),
        (lambda p: p["scores"].pop(), "profile.scores: expected 20 counts of the 3 entities in dev.entities, got"),
        (
            lambda p: p["scores"].insert(0, p["scores"].pop() + 1),
            "profile.scores: expected 20 counts of the 3 entities",
        ),
        (lambda p: p.update(scores=[3, -1, 1, *[0] * 17]), "profile.scores: expected 20 counts of the 3 entities in"),
        (lambda p: p.update(scores="1"), "profile.scores: expected a list of whole numbers, got '1'"),
    ],
)
def test_a_wrong_profile_is_named_with_the_value_it_got(tmp_path, change, problem):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, lambda d: change(d["profile"]), FULL))

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(format=5), "config.format: expected 4, got 5"),
        (lambda d: d.update(format=0), "config.format: expected 4, got 0"),
        (lambda d: d.update(format=4.0), "config.format: expected 4, got 4.0"),
        (lambda d: d["model"].update(max_chars=1), "model.max_chars: unknown key"),
        (lambda d: d.update(format=True), "config.format: expected 4, got True"),
        (lambda d: d.update(format=[1]), "config.format: expected 4, got [1]"),
        (lambda d: d.pop("format"), "config.format: expected 4, got None"),
        (lambda d: d.pop("rules"), "config.rules: missing"),
        (lambda d: d.update(rules={"tokens": "2"}), "config.rules: expected an object of whole numbers, got"),
        (lambda d: d.update(rules=[]), "config.rules: expected an object of whole numbers, got []"),
        (lambda d: d.update(about=None), "about: expected an object, got None"),
        (lambda d: d["about"].pop("language"), "about.language: missing"),
        (lambda d: d["about"].update(lang="en"), "about.lang: unknown key; did you mean language?"),
        (lambda d: d["about"].update(language=1), "about.language: expected a string or null, got 1"),
        (lambda d: d["about"].update(description=None), "about.description: expected a string, got None"),
        (
            lambda d: d["about"].update(label_names={"PRE": "Person"}),
            "about.label_names: expected labels among PER, cr",
        ),
        (lambda d: d["about"].update(label_names={"PER": 1}), "about.label_names: expected an object of strings"),
        (lambda d: d.pop("profile"), "config.profile: missing"),
        (lambda d: d.update(profile=[]), "profile: expected an object, got []"),
        (lambda d: d.pop("calibration"), "config.calibration: missing"),
        (lambda d: d.update(calibration=[]), "calibration: expected an object, got []"),
        (lambda d: d.update(calibration={"slope": 1.0}), "calibration.offsets: missing"),
        (lambda d: d["training"].update(corpus_shares={"a": -1}), "corpus_shares: expected a number from 0 on for a"),
        (lambda d: d["training"].update(corpus_shares=[1]), "training.corpus_shares: expected an object of numbers"),
        (lambda d: d["training"].update(unannotated={"a": "PER"}), "unannotated: expected an object of lists"),
        (lambda d: d["training"].update(perturbations={"noise": 0.1}), "perturbations: expected some of lower, upper"),
        (lambda d: d["training"].update(perturbations={"lower": 0.6, "upper": 0.6}), "at most 1 together"),
        (lambda d: d["training"].update(perturbations={"lower": -0.1}), "a share from 0 on for lower"),
        (lambda d: d.update(nmae="x"), "config.nmae: unknown key"),
        (lambda d: d.pop("version"), "config.version: missing"),
        (lambda d: d.update(version=1), "config.version: expected a string, got 1"),
        (lambda d: d.update(version="new"), "config.version: expected N, N.N or N.N.N, got 'new'"),
        (lambda d: d.update(name="../en"), "config.name: expected 1 to 64 letters"),
        (lambda d: d.update(digests=[]), "config.digests: expected an object of strings"),
        (lambda d: d.update(digests={"a": 1}), "config.digests: expected an object of strings"),
        (lambda d: d.update(model=[]), "model: expected an object"),
        (lambda d: d["model"].update(hidden=1), "model.hidden: unknown key"),
        (lambda d: d["model"].pop("hidden_dim"), "model.hidden_dim: missing"),
        (lambda d: d["model"].update(hidden_dim="200"), "model.hidden_dim: expected a whole number, got '200'"),
        (lambda d: d["model"].update(hidden_dim=True), "model.hidden_dim: expected a whole number, got True"),
        (lambda d: d["model"].update(hidden_dim=201), "model.hidden_dim: expected an even number from 2 to 65536, got"),
        (lambda d: d["model"].update(hidden_dim=10**9), "model.hidden_dim: expected an even number from 2 to 65536"),
        (lambda d: d["model"].update(max_word_chars=10**9), "model.max_word_chars: expected an even number from 2 to"),
        (lambda d: d["model"].update(char_kernel=2), "model.char_kernel: expected an odd number from 1 to 63, got 2"),
        (lambda d: d["model"].update(char_kernel=-3), "model.char_kernel: expected an odd number from 1 to 63, got -3"),
        (lambda d: d["model"].update(char_kernel=10**6 + 1), "model.char_kernel: expected an odd number from 1 to 63"),
        (lambda d: d["model"].update(word_dim=0), "model.word_dim: expected a number from 1 to 65536, got 0"),
        *(
            (lambda d, key=key: d["model"].update({key: 10**9}), f"model.{key}: expected a number from 1 to 65536")
            for key in ("word_dim", "char_dim", "char_filters", "case_dim")
        ),
        (lambda d: d["model"].update(labels=[f"L{i}" for i in range(257)]), "model.labels: expected at most 256"),
        (lambda d: d["model"].update(scheme="BILOU"), "model.scheme: expected one of BIO, IOBES, got 'BILOU'"),
        (lambda d: d["model"].update(scheme=1), "model.scheme: expected a string, got 1"),
        (lambda d: d["model"].update(labels=[]), "model.labels: expected at least one label"),
        (lambda d: d["model"].update(labels=["PER", "PER"]), "model.labels: expected distinct labels"),
        (lambda d: d["model"].update(labels=["<b>"]), "model.labels: expected letters"),
        (lambda d: d["model"].update(labels=[1]), "model.labels: expected a list of strings"),
        (lambda d: d["training"].update(dropout=1), "training.dropout: expected a share in"),
        (lambda d: d["training"].update(dropout="x"), "training.dropout: expected a number, got 'x'"),
        (lambda d: d["training"].update(learning_rate=0), "training.learning_rate: expected a positive number"),
        (lambda d: d["training"].update(learning_rate=10**400), "training.learning_rate: expected a number"),
    ],
)
def test_a_mistake_is_named_with_the_value_it_got(tmp_path, change, problem):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, change))

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bias": 0}, "calibration.bias: unknown key"),
        ({"slope": 0}, "calibration.slope: expected a positive number, got 0.0"),
        ({"slope": -1.5}, "calibration.slope: expected a positive number, got -1.5"),
        ({"slope": float("nan")}, "calibration.slope: expected a number, got nan"),
        ({"slope": float("inf")}, "calibration.slope: expected a number, got inf"),
        ({"slope": 10**400}, "calibration.slope: expected a number, got 1000"),
        ({"slope": "1"}, "calibration.slope: expected a number, got '1'"),
        ({"slope": True}, "calibration.slope: expected a number, got True"),
        ({"offsets": [0, 0]}, "calibration.offsets: expected an object of numbers, got [0, 0]"),
        ({"offsets": {"PER": "0"}}, "calibration.offsets: expected an object of numbers, got {'PER': '0'}"),
        ({"offsets": {"PER": float("nan")}}, "calibration.offsets: expected an object of numbers, got {'PER': nan}"),
        ({"offsets": {"PER": 0}}, "calibration.offsets: expected one for each of PER, creative-work, got ['PER']"),
        (
            {"offsets": {"PER": 0, "creative-work": 0, "LOC": 0}},
            "calibration.offsets: expected one for each of PER, creative-work, got ['LOC', 'PER', 'creative-work']",
        ),
    ],
)
def test_a_wrong_calibration_is_named_with_the_value_it_got(tmp_path, change, problem):
    with pytest.raises(ConfigError) as caught:
        BundleConfig.load(write(tmp_path, lambda d: d["calibration"].update(change), CALIBRATED))

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("slope", "offset", "problem"),
    [
        (float("nan"), 0.0, "calibration.slope: expected a positive number, got nan"),
        (float("inf"), 0.0, "calibration.slope: expected a positive number, got inf"),
        (1.0, float("nan"), "calibration.offsets: expected a finite number for PER, got nan"),
    ],
)
def test_no_calibration_is_made_of_what_cannot_be_right(slope, offset, problem):
    with pytest.raises(ConfigError, match=problem):
        Calibration(slope, {"PER": offset})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b"[]", "expected an object"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "expected JSON"),
        (b'{"format": 1, "format": 1}', "repeated key 'format'"),
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


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    (tmp_path / "config.json").mkdir()
    (tmp_path / "README.md").touch()

    with pytest.raises(ConfigError, match=r"config\.json: cannot be read: Is a directory"):
        BundleConfig.load(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read: Not a directory"):
        BundleConfig.load(tmp_path / "README.md" / "config.json")


def test_defaults_fill_in_only_where_they_are_given():
    defaults = vars(ModelConfig(labels=("PER",)))

    assert dataclass_from(ModelConfig, "model", {"hidden_dim": 8}, defaults).hidden_dim == 8
    with pytest.raises(ConfigError, match=r"model\.case_dim: missing"):
        dataclass_from(ModelConfig, "model", {"labels": ["PER"]})
