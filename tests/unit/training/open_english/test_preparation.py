"""What is mended in the open corpora, on small corpora with their quirks."""

import json
import re
import shutil

import pytest

from handler.labels import Span
from nerserve.cli import main
from training.corpora import Sentence, read_conll
from training.errors import CorpusError
from training.open_english import prepare
from training.open_english.mends import join_handles
from training.open_english.sources import LABELS, TEST_ONLY

NATIVE = {
    "gmb_kaggle": "Iraqi\tB-gpe\ntroops\tO\nmet\tO\nPrime\tB-per\nMinister\tI-per\nTony\tI-per\nBlair\tI-per\n\n"
    "Sudan\tB-gpe\nand\tO\nSudan\tB-geo\nand\tO\nMr.\tB-per\non\tO\nMonday\tB-tim\n\n",
    "docred": "Iraqi\tB-LOC\nIraq\tB-LOC\n1990\tB-TIME\n\n"
    "in\tO\nthe\tB-LOC\nHague\tI-LOC\nthe\tB-ORG\nSenate\tI-ORG\n\n"
    "Catholic\tB-ORG\nLabour\tB-ORG\n\n",
    "btc": "@\tB-PER\nann\tB-PER\nin\tO\nParis\tB-LOC\n\nRussian\tB-LOC\ntea\tO\n\n",
    "uner_ewt": "Islamic\tB-OTH\n\n",
    "wnut17": "Apple\tB-corporation\niPhone\tB-product\n\nGerman\tO\nbeer\tO\n\n",
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
    for name, text in {
        "gum/train.conll": "United\tB-ORG\nKingdom\tI-ORG\n\n",
        "gum/dev.conll": "first\tO\n\nsecond\tO\n\nthird\tO\nParis\tB-LOC\n\n",
        "gum/test.conll": "tested\tO\n\n",
        "gum/train.documents": "1\n",
        "gum/dev.documents": "1\n1\n1\n",
        "gum/test.documents": "1\n",
        "lists/clubs.txt": "".join(f"FC Town{chr(97 + i % 26)}{chr(97 + i // 26)}\n" for i in range(300)),
        "lists/universities.txt": "".join(f"University of Port{chr(97 + i)}ville\n" for i in range(26)),
        "wikigold/test.documents": "1\n",
    }.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    return tmp_path / "data"


def read_all(folder):
    """The spans of every training sentence in *folder*, by its words."""
    files = folder.glob("train-*.conll")
    return {" ".join(row.words): row.spans for path in sorted(files, reverse=True) for row in read_conll(path)}


def test_corpora_are_mended_and_mapped(data, tmp_path):
    prepared = prepare(data, tmp_path / "out")

    train = read_all(tmp_path / "out")
    assert train["Iraqi troops met Prime Minister Tony Blair"] == (Span(0, 1, "MISC"), Span(5, 7, "PER"))
    assert train["Sudan and Sudan and Mr. on Monday"] == (Span(0, 1, "LOC"), Span(2, 3, "LOC"))
    assert train["Iraqi Iraq 1990"] == (Span(0, 1, "MISC"), Span(1, 2, "LOC"))
    assert train["in the Hague the Senate"] == (Span(2, 3, "LOC"), Span(3, 5, "ORG"))
    assert train["Catholic Labour"] == (Span(0, 1, "MISC"), Span(1, 2, "ORG"))
    assert train["@ann in Paris"] == (Span(2, 3, "LOC"),)
    assert train["Russian tea"] == (Span(0, 1, "MISC"),)
    assert train["Islamic"] == (Span(0, 1, "MISC"),)
    social = {name: read_conll(tmp_path / "out" / f"{name}.conll") for name in ("train-wnut17", "train-wnut17-native")}
    assert [row.spans for row in social["train-wnut17"]] == [
        (Span(0, 1, "ORG"), Span(1, 2, "MISC")),
        (Span(0, 1, "MISC"),),
    ]
    assert [row.spans for row in social["train-wnut17-native"]] == [
        (Span(0, 1, "corporation"), Span(1, 2, "product")),
        (),
    ]
    assert prepared.sentences["test-wikigold"] == 1
    assert "dev-crossner_ai" not in prepared.sentences  # it is training text
    assert prepared.missing == []
    assert prepared.mends["docred: nationalities, religions and followers that become MISC"] == 1


def test_gum_is_parted_by_documents_and_its_countries_are_places(data, tmp_path):
    (data / "docred" / "train.conll").write_text(NATIVE["docred"] + 3 * "United\tB-LOC\nKingdom\tI-LOC\n\n")

    prepare(data, tmp_path / "out")

    train, dev = (read_conll(tmp_path / "out" / f"{part}-gum.conll") for part in ("train", "dev"))
    assert [(row.words, row.spans) for row in train] == [
        (("United", "Kingdom"), (Span(0, 2, "LOC"),)),
        (("first",), ()),
        (("second",), ()),
    ]
    assert [row.words for row in dev] == [("third", "Paris")]
    assert (tmp_path / "out" / "dev-gum.documents").read_text() == "1\n"


@pytest.mark.parametrize("leak", [("wikigold", "test"), ("docred", "dev")], ids=["a test file", "a dev file"])
def test_a_sentence_that_is_scored_is_neither_trained_on_nor_made_into_another(data, tmp_path, leak):
    leaked = "One\tB-ORG\nsentence\tO\nof\tO\nthe\tO\ntest\tO\n\n"
    corpus, part = leak
    for name in (f"{corpus}/{part}", "gmb_kaggle/train", "uner_ewt/train"):
        path = data / f"{name}.conll"
        path.write_text(leaked.replace("ORG", "org" if "gmb" in str(path) else "ORG") + path.read_text())
    (data / "wikigold" / "test.documents").unlink()

    prepare(data, tmp_path / "out")

    words = ("One", "sentence", "of", "the", "test")
    assert words in [row.words for row in read_conll(tmp_path / "out" / f"{part}-{corpus}.conll")]
    for path in (tmp_path / "out").glob("train-*.conll"):
        assert [row.words for row in read_conll(path) if row.words[1:] == words[1:]] == []


def test_the_first_whole_documents_of_a_large_dev_file_are_dev_and_the_rest_is_trained_on(data, tmp_path):
    path = data / "docred" / "dev.conll"
    path.write_text("".join(f"sentence\tO\n{number}\tO\n\n" for number in range(1010)))
    (data / "docred" / "dev.documents").write_text("990\n15\n5\n")

    prepared = prepare(data, tmp_path / "out")

    assert prepared.sentences["dev-docred"] == 1005
    assert (tmp_path / "out" / "dev-docred.documents").read_text() == "990\n15\n"
    words = [sentence.words for sentence in read_conll(tmp_path / "out" / "train-docred.conll")]
    assert words[-5:] == [("sentence", str(number)) for number in range(1005, 1010)]


def test_without_documents_a_large_dev_file_is_cut_behind_a_thousand_sentences(data, tmp_path):
    path = data / "docred" / "dev.conll"
    path.write_text("".join(f"sentence\tO\n{number}\tO\n\n" for number in range(1005)))

    assert prepare(data, tmp_path / "out").sentences["dev-docred"] == 1000


def test_the_same_seed_makes_the_same_files_and_another_one_others(data, tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        prepare(data, tmp_path / name, seed)

    files = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "same", "other")}
    assert files["one"] == files["same"]
    assert files["one"]["train-lines.conll"] != files["other"]["train-lines.conll"]
    assert files["one"]["train-docred.conll"] == files["other"]["train-docred.conll"]


def test_gum_and_the_lists_may_be_missing(data, tmp_path):
    shutil.rmtree(data / "gum")
    shutil.rmtree(data / "lists")

    prepared = prepare(data, tmp_path / "out")

    assert prepared.missing == ["gum", "lists/clubs.txt", "lists/universities.txt"]
    assert "train-gum" not in prepared.sentences
    assert prepared.sentences["train-lines"] > 1000


def test_the_command_counts_what_it_wrote_and_mended_and_names_what_is_missing(data, tmp_path, capsys):
    shutil.rmtree(data / "lists")

    assert main(["open-corpora", str(data), "--out", str(tmp_path / "out")]) == 0
    table = capsys.readouterr()
    assert main(["open-corpora", str(data), "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    path = tmp_path / "out" / "train-docred.conll"
    assert document["files"][str(path)]["sentences"] == len(read_conll(path))
    assert set(document["files"]) == {str(p) for p in (tmp_path / "out").glob("*.conll")}
    assert document["mends"]["docred: nationalities, religions and followers that become MISC"] == 1
    assert document["missing"] == ["lists/clubs.txt", "lists/universities.txt"]
    assert re.search(r"^docred: nationalities, religions and followers that become MISC +1$", table.out, re.MULTILINE)
    assert f"{data}/lists/clubs.txt: not there" in table.err


def test_a_missing_corpus_is_named_before_anything_is_read(data, tmp_path):
    (data / "btc" / "test.conll").unlink()

    with pytest.raises(CorpusError, match=r"btc/test\.conll: expected a file of CoNLL columns.*training/en\.md"):
        prepare(data, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("counts", ["2\n", "1\n2\n", "two\n", "0\n1\n"])
def test_counts_of_documents_that_do_not_fit_the_sentences_are_refused(data, tmp_path, counts):
    (data / "wikigold" / "test.documents").write_text(counts)

    with pytest.raises(CorpusError, match=r"wikigold/test\.documents: expected"):
        prepare(data, tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "joined"),
    [("a @ b c", "a @b c"), ("@ b", "@b"), ("a @", "a @"), ("@ @ b", "@@ b"), ("a b", "a b")],
)
def test_handles_are_joined(words, joined):
    assert join_handles(Sentence(tuple(words.split()), ())).words == tuple(joined.split())
