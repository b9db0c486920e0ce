"""``nerserve.load``: the public face for Python."""

import shutil
import subprocess
import sys

import pytest
import torch

import nerserve
from handler.tagger import Tagger

TEXT = "Obama met Apple, the paris obama. Apple 1984!"


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return nerserve.load(tiny_bundle)


def test_importing_it_imports_nothing_heavy():
    code = "import nerserve, sys; print(sorted({'torch', 'numpy', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_text_has_the_tagger_s_entities_as_named_tuples(model, tiny_bundle):
    entities = model.predict(TEXT)

    assert entities == Tagger.load(tiny_bundle).tag([TEXT])[0] != []
    assert all(TEXT[entity.start : entity.end] == entity.text for entity in entities)
    assert list(entities[0]._asdict()) == ["text", "label", "start", "end", "score"]


def test_several_texts_have_the_numbers_of_each_alone(model):
    texts = [TEXT, "", "the Apple", TEXT * 40]

    assert model.predict(texts) == [model.predict(text) for text in texts]
    assert model.predict(text for text in texts) == model.predict(texts)
    assert model.predict([]) == []


def test_a_program_s_threads_change_no_number_and_stay_its_own(model):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.predict([TEXT * 40])
        torch.set_num_threads(4)

        assert model.predict([TEXT * 40]) == alone
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_labels_and_threshold_choose_among_the_entities(model):
    entities = model.predict(TEXT * 9)
    middle = sorted(entity.score for entity in entities)[len(entities) // 2]

    assert model.labels == ("LOC", "PER")
    for label in model.labels:
        assert model.predict(TEXT * 9, labels=[label]) == [one for one in entities if one.label == label]
    assert model.predict(TEXT * 9, threshold=middle) == [one for one in entities if one.score >= middle]


def test_an_archive_is_the_same_model(model, tiny_mar):
    archived = nerserve.load(tiny_mar)

    assert (archived.name, archived.version, archived.digest) == (model.name, model.version, model.digest)
    assert archived.predict(TEXT) == model.predict(TEXT)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: model.predict("x", labels=["FOO"]), nerserve.InvalidOptionError, "some of LOC, PER"),
        (lambda model: model.predict("x", threshold=2), nerserve.InvalidOptionError, "from 0 to 1"),
        (lambda model: model.predict("x" * 1_000_001), nerserve.TextTooLongError, "the limit is 1,000,000"),
        (lambda model: model.predict(["x", 3]), TypeError, "expected a string for text 1, got int"),
        (lambda model: model.predict(b"x"), TypeError, "expected a string, or several, got bytes"),
        (lambda model: model.predict(None), TypeError, "expected a string, or several, got NoneType"),
        (lambda model: model.predict(3), TypeError, "expected a string, or several, got int"),
    ],
)
def test_what_cannot_be_predicted_is_an_error_that_says_why(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


def test_what_cannot_be_loaded_is_an_error_that_names_it(tiny_bundle, tiny_mar, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    (broken / "weights.npz").write_bytes(b"")
    (tmp_path / "x.mar").write_bytes(tiny_mar.read_bytes()[:-1])

    with pytest.raises(nerserve.BundleError, match=r"nowhere does not exist; expected the folder of a bundle or an "):
        nerserve.load(tmp_path / "nowhere")
    with pytest.raises(nerserve.BundleError, match=r"broken: weights\.npz: expected sha256"):
        nerserve.load(str(broken))
    with pytest.raises(nerserve.ArchiveError, match=r"x\.mar: damaged"):
        nerserve.load(tmp_path / "x.mar")
    with pytest.raises(
        nerserve.BundleError, match=r"has no config\.json; expected the folder of a bundle or an archive"
    ):
        nerserve.load(tmp_path)
    assert issubclass(nerserve.BundleError, nerserve.NerserveError)
    assert issubclass(nerserve.ArchiveError, nerserve.NerserveError)


def test_a_model_s_bare_name_is_answered_with_its_folder(tiny_bundle, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundle, tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(nerserve.BundleError, match=r"^mine does not exist; .*; did you mean models/mine\?$"):
        nerserve.load("mine")
