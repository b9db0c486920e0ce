"""Unseen words: gensim's own vectors, out of a saved bundle, in a process that cannot import gensim."""

import json
import subprocess
import sys

import numpy as np
import pytest
from gensim.models import FastText
from gensim.models.fasttext import ft_ngram_hashes, save_facebook_model
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.bundle import Bundle
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.digests import file_digest
from handler.errors import BundleError
from handler.network.features import normalize
from handler.subwords import MAX_CHARS, Subwords, ngram_buckets
from handler.tables import VectorTable
from handler.vectors import WordVectors, back_off
from training.vectors.pretrained import pack

SENTENCES = [
    "the Straße in München is größer".split(),
    "Москва не сразу строилась ёлка".split(),
    "東京 と 北京 は 大きい".split(),
    "naïve cafe\u0301 👩\u200d👩\u200d👧 می\u200cخواهم O’Neil B52 0000".split(),
] * 5
KNOWN = {word for sentence in SENTENCES for word in sentence}
WIDTH = 12

#: min_n, max_n, buckets, how it is saved
MODELS = [(3, 6, 2000, "bin"), (5, 5, 101, "kv"), (1, 2, 50, "bin"), (2, 4, 1, "kv"), (3, 6, 2000, "model")]

ALPHABETS = [
    "abcxyzABC", "äöüßÄÖÜ", "абвгЖЯ", "東京都", "👩👨👧🏽\u200d", "e\u0301a\u0308", "0123456789-.’“<>", "\0\n \x7f",
]  # fmt: skip
any_word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
mixed_word = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, min_size=1, max_size=20))
words = st.lists(any_word | mixed_word, min_size=1, max_size=20)

SERVER = """
import json, sys
sys.modules["gensim"] = None  # importing it is an ImportError now
from pathlib import Path
from handler.bundle import Bundle
encoder = Bundle.load(Path(sys.argv[1])).encoder()
for line in sys.stdin:
    batch = encoder.batch([json.loads(line)])
    print(json.dumps([batch.vectors[batch.words[0]].tolist(), batch.known[batch.words[0]].tolist()]), flush=True)
assert not any(name.partition(".")[0] in {"gensim", "training"} for name, module in sys.modules.items() if module)
"""


def fasttext(*, min_n, max_n, bucket, seed=1):
    model = FastText(vector_size=WIDTH, min_count=1, min_n=min_n, max_n=max_n, bucket=bucket, workers=1, seed=seed)
    model.build_vocab(SENTENCES)
    model.train(SENTENCES, total_examples=len(SENTENCES), epochs=2)
    return model


def new_bundle(vectors):
    model = ModelConfig(labels=("PER",), word_dim=vectors.dim, char_dim=2, char_filters=2, case_dim=2, hidden_dim=4)
    config = BundleConfig(name="subwords", version="1.0", model=model, training=TrainingConfig())
    return Bundle.new(config, ["a"], vectors)


class Serving:
    """A process with the bundle in *folder*: lists of words in, their vectors and whether they are known out."""

    def __init__(self, folder):
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, words):
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        vectors, known = json.loads(self._process.stdout.readline())
        return np.array(vectors), known

    def close(self):
        self._process.communicate(timeout=60)
        return self._process.returncode


@pytest.fixture(scope="module", params=MODELS, ids=str)
def served(request, tmp_path_factory):
    """gensim's vectors, and a process that serves them."""
    min_n, max_n, bucket, suffix = request.param
    folder = tmp_path_factory.mktemp("fasttext")
    path = folder / f"vectors.{suffix}"
    model = fasttext(min_n=min_n, max_n=max_n, bucket=bucket)
    if suffix == "bin":
        save_facebook_model(model, str(path))
    else:
        (model if suffix == "model" else model.wv).save(str(path))
    new_bundle(pack([path], max_words=1000)).save(folder / "bundle")
    serving = Serving(folder / "bundle")
    yield model.wv, serving
    assert serving.close() == 0


@settings(deadline=None)  # the first question waits for the process to load torch
@given(words)
def test_a_word_gets_the_vector_that_gensim_gives_it(served, words):
    keyed, serving = served
    words = [word for word in words if word in KNOWN or not KNOWN.intersection(back_off(normalize(word)))]

    vectors, known = serving.ask([*words, "never"])

    for word, vector, is_known in zip(words, vectors, known, strict=False):
        has_ngrams = len(ft_ngram_hashes(word, keyed.min_n, keyed.max_n, keyed.bucket)) > 0
        np.testing.assert_allclose(vector, keyed.get_vector(word), rtol=0, atol=1e-6)
        assert is_known == (word in KNOWN or has_ngrams)


def test_known_words_are_found_as_they_stand(served):
    keyed, serving = served

    vectors, known = serving.ask(sorted(KNOWN))

    np.testing.assert_allclose(vectors, [keyed.get_vector(word) for word in sorted(KNOWN)], rtol=0, atol=1e-6)
    assert all(known)


@pytest.mark.parametrize(
    ("word", "form"), [("STRASSE", None), ("MÜNCHEN", None), ("THE", "the"), ("B77", "B00"), ("1984", "0000")]
)
def test_a_form_of_the_word_comes_before_its_subwords(served, word, form):
    keyed, serving = served
    form = form if form in KNOWN else word

    (vector,), _ = serving.ask([word])

    np.testing.assert_allclose(vector, keyed.get_vector(form), rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_chars", [999, MAX_CHARS])
def test_a_word_of_a_thousand_characters_is_taken_whole(served, num_chars):
    keyed, serving = served
    word = ("Donaudampfschiffahrtsgesellschaft東京é" * 40)[:num_chars]

    (vector,), _ = serving.ask([word])

    np.testing.assert_allclose(vector, keyed.get_vector(word), rtol=0, atol=1e-6)


def test_of_a_longer_word_both_ends_are_taken(served):
    keyed, serving = served
    word = "ab" * 250 + "x" * 64_000 + "yz" * 250

    (vector,), _ = serving.ask([word])

    np.testing.assert_allclose(vector, keyed.get_vector("ab" * 250 + "yz" * 250), rtol=0, atol=1e-6)


@given(mixed_word | any_word, st.integers(0, 4), st.integers(1, 7), st.integers(1, 2_000_000))
def test_ngrams_fall_into_the_buckets_of_gensim(word, min_n, max_n, num_buckets):
    expected = ft_ngram_hashes(word, min_n, max_n, num_buckets)

    assert ngram_buckets(word, min_n=min_n, max_n=max_n, num_buckets=num_buckets) == expected


def test_a_lone_surrogate_has_a_vector_too():
    part = Subwords(VectorTable.new(np.ones((7, 2), np.float32), "float32"), min_n=3, max_n=6)

    assert part.vector("a\ud800b").tolist() == [1, 1]


@pytest.mark.parametrize(("storage", "step"), [("float16", 2**-10), ("int8", 1 / 127)])
def test_smaller_storage_stays_within_its_precision(storage, step):
    table = np.random.default_rng(3).normal(size=(500, 20)).astype(np.float32)
    exact, small = (Subwords(VectorTable.new(table, kind), min_n=3, max_n=6) for kind in ("float32", storage))

    errors = [np.abs(exact.vector(word) - small.vector(word)).max() for word in sorted(KNOWN) if len(word) > 1]

    assert 0 < max(errors) <= np.abs(table).max() * step * 0.51


@pytest.fixture
def folder(tmp_path):
    """Saved vectors of width 5: two parts with subwords, one column between them without."""
    table = np.random.default_rng(4).normal(size=(9, 2)).astype(np.float32)
    parts = [
        Subwords(VectorTable.new(table, "float32"), min_n=3, max_n=3),
        Subwords(VectorTable.new(table, "int8"), min_n=4, max_n=4, left=3),
    ]
    WordVectors.new(["a"], np.ones((1, 5), np.float32), "int8", parts).save(tmp_path)
    return tmp_path


def test_parts_stand_side_by_side_with_zeros_between_and_where_they_have_no_ngram(folder):
    vectors = WordVectors.load(folder)
    left, right = vectors.subwords

    both, short, none = (vectors.infer(word) for word in ("abc", "b", ""))

    assert both.tolist() == [*left.vector("abc"), 0, *right.vector("abc")]
    assert short.tolist() == [*left.vector("b"), 0, 0, 0]
    assert none is None


def test_ngrams_are_mapped_and_not_read(folder):
    parts = WordVectors.load(folder).subwords

    arrays = [array for part in parts for array in part.table.arrays]
    assert [array.dtype.name for array in arrays] == ["float32", "int8", "float32"]
    assert all(isinstance(array, np.memmap) for array in arrays)


def test_saving_again_gives_the_same_files(folder, tmp_path):
    (tmp_path / "again").mkdir()
    WordVectors.load(folder).save(tmp_path / "again")

    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert names >= {"subwords.json", "ngrams-0.npy", "ngrams-1.npy", "ngrams-1-scales.npy"}
    assert all((tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes() for name in names)


def edit(change):
    def damage(folder):
        path = folder / "subwords.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return damage


def replace(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def array(name, values):
    return lambda folder: np.save(folder / name, values)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (replace("subwords.json", b"{"), "vectors/subwords.json: expected JSON"),
        (replace("subwords.json", b"{}"), "vectors/subwords.json: expected a list of parts"),
        (replace("subwords.json", b"[]"), "vectors/subwords.json: expected a list of parts"),
        (replace("subwords.json", b"[1]"), "expected part 0 to have the keys left, max_n, min_n"),
        (edit(lambda parts: parts[1].update(hash="fnv")), "expected part 1 to have the keys left, max_n, min_n"),
        (edit(lambda parts: parts[0].pop("left")), "expected part 0 to have the keys left, max_n, min_n"),
        (edit(lambda parts: parts[0].update(min_n="3")), "part 0: min_n: expected a whole number, got '3'"),
        (edit(lambda parts: parts[0].update(min_n=True)), "part 0: min_n: expected a whole number, got True"),
        (edit(lambda parts: parts[0].update(min_n=4)), "part 0: expected .* min_n <= max_n .* got 0, 4, 3"),
        (edit(lambda parts: parts[0].update(left=-1)), "part 0: expected 0 <= left.* got -1, 3, 3"),
        (edit(lambda parts: parts[0].update(min_n=0, max_n=0)), "part 0: expected .* 0 < max_n, got 0, 0, 0"),
        (edit(lambda parts: parts[0].update(left=2)), "side by side within 5 columns, got part 1 from 3 to 5"),
        (edit(lambda parts: parts[1].update(left=4)), "side by side within 5 columns, got part 1 from 4 to 6"),
        (lambda folder: (folder / "ngrams-0.npy").unlink(), "vectors/ngrams-0.npy: missing"),
        (lambda folder: (folder / "ngrams-1-scales.npy").unlink(), "vectors/ngrams-1-scales.npy: missing"),
        (array("ngrams-0.npy", np.ones((9, 2))), r"vectors/ngrams-0.npy: expected \(N, D\) of .*float64"),
        (array("ngrams-0.npy", np.ones((0, 2), np.float32)), "vectors/ngrams-0.npy: expected at least one bucket"),
        (array("ngrams-0.npy", np.ones((9, 0), np.float32)), r"at least one bucket and column, got \(9, 0\)"),
        (array("ngrams-1-scales.npy", np.ones(8, np.float32)), "ngrams-1-scales.npy: expected 9 scales, got 8"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_together_are_refused_by_name(folder, damage, problem):
    damage(folder)

    with pytest.raises(BundleError, match=problem):
        WordVectors.load(folder)


@pytest.mark.parametrize("name", ["subwords.json", "ngrams-0.npy", "ngrams-1-scales.npy"])
def test_a_bundle_holds_a_digest_of_every_file(folder, tmp_path, name):
    bundle = new_bundle(WordVectors.load(folder)).save(tmp_path / "bundle")
    assert bundle.config.digests[f"vectors/{name}"] == file_digest(folder / name)

    (tmp_path / "bundle/vectors" / name).unlink()

    with pytest.raises(BundleError, match=f"vectors/{name}: missing"):
        Bundle.load(tmp_path / "bundle")
