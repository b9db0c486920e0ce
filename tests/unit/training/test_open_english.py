"""What is mended in the open corpora, on small corpora with their quirks."""

import pytest

from handler.labels import Span
from training.corpora import Sentence, read_conll
from training.open_english import LABELS, TEST_ONLY, join_handles, prepare

NATIVE = {
    "gmb_kaggle": "Iraqi\tB-gpe\ntroops\tO\nmet\tO\nPrime\tB-per\nMinister\tI-per\nTony\tI-per\nBlair\tI-per\n\n"
    "Sudan\tB-gpe\nand\tO\nSudan\tB-geo\nand\tO\nMr.\tB-per\non\tO\nMonday\tB-tim\n\n",
    "docred": "Iraqi\tB-LOC\nIraq\tB-LOC\n1990\tB-TIME\n\n"
    "in\tO\nthe\tB-LOC\nHague\tI-LOC\nthe\tB-ORG\nSenate\tI-ORG\n\n",
    "btc": "@\tB-PER\nann\tB-PER\nin\tO\nParis\tB-LOC\n\n",
    "uner_ewt": "Islamic\tB-OTH\n\n",
    "wnut17": "Apple\tB-corporation\niPhone\tB-product\n\n",
}


@pytest.fixture
def data(tmp_path):
    for name, labels in LABELS.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        default = f"Some\tO\nword\tB-{next(iter(labels))}\nof\tO\n{name}\tO\n.\tO\n\n"
        for part in ("train", "dev", "test"):
            text = NATIVE.get(name, default) if part == "train" else f"{part}\tO\n{default}"
            if part == "test" or name not in TEST_ONLY:
                (folder / f"{part}.conll").write_text(text)
    return tmp_path / "data"


def test_corpora_are_mended_and_mapped(data, tmp_path):
    counts = prepare(data, tmp_path / "out")

    files = list((tmp_path / "out").glob("train-*.conll"))
    train = {" ".join(sentence.words): sentence.spans for path in files for sentence in read_conll(path)}
    assert train["Iraqi troops met Prime Minister Tony Blair"] == (Span(0, 1, "MISC"), Span(5, 7, "PER"))
    assert train["Sudan and Sudan and Mr. on Monday"] == (Span(0, 1, "LOC"), Span(2, 3, "LOC"))
    assert train["Iraqi Iraq 1990"] == (Span(0, 1, "MISC"), Span(1, 2, "LOC"))
    assert train["in the Hague the Senate"] == (Span(2, 3, "LOC"), Span(3, 5, "ORG"))
    assert train["@ann in Paris"] == (Span(2, 3, "LOC"),)
    assert train["Islamic"] == (Span(0, 1, "MISC"),)
    social = {
        name: read_conll(tmp_path / "out" / f"{name}.conll")[0] for name in ("train-wnut17", "train-wnut17-native")
    }
    assert social["train-wnut17"].spans == (Span(0, 1, "ORG"), Span(1, 2, "MISC"))
    assert social["train-wnut17-native"].spans == (Span(0, 1, "corporation"), Span(1, 2, "product"))
    assert sorted(path.stem for path in files) == [
        "train-btc", "train-crossner", "train-docred", "train-gmb_kaggle", "train-uner_ewt", "train-wnut17",
        "train-wnut17-native",
    ]  # fmt: skip
    assert counts["test-wikigold"] == 1
    assert "dev-crossner_ai" not in counts  # it is training text


def test_a_sentence_of_a_test_set_is_not_trained_on(data, tmp_path):
    leaked = "One\tO\nsentence\tO\nof\tO\nthe\tO\ntest\tO\n\n"
    for path in (data / "wikigold" / "test.conll", data / "gmb_kaggle" / "train.conll"):
        path.write_text(path.read_text() + leaked)

    prepare(data, tmp_path / "out")

    words = ("One", "sentence", "of", "the", "test")
    assert words in [sentence.words for sentence in read_conll(tmp_path / "out" / "test-wikigold.conll")]
    assert words not in [sentence.words for sentence in read_conll(tmp_path / "out" / "train-gmb_kaggle.conll")]


def test_what_is_behind_the_first_sentences_of_a_large_dev_file_is_trained_on(data, tmp_path):
    path = data / "docred" / "dev.conll"
    path.write_text("".join(f"sentence\tO\n{number}\tO\n\n" for number in range(1005)))

    counts = prepare(data, tmp_path / "out")

    assert counts["dev-docred"] == 1000
    words = [sentence.words for sentence in read_conll(tmp_path / "out" / "train-docred.conll")]
    assert words[-5:] == [("sentence", str(number)) for number in range(1000, 1005)]


@pytest.mark.parametrize(
    ("words", "joined"),
    [("a @ b c", "a @b c"), ("@ b", "@b"), ("a @", "a @"), ("@ @ b", "@@ b"), ("a b", "a b")],
)
def test_handles_are_joined(words, joined):
    assert join_handles(Sentence(tuple(words.split()), ())).words == tuple(joined.split())
