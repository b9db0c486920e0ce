"""Inference: against the network as it was trained, in float64, and against itself in other batches."""

import itertools
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.bundle import Bundle
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.network import inference as network_module
from handler.network.features import ERASED
from handler.network.inference import Network, row_step
from handler.network.packing import Packing
from handler.pieces import CancelledError, check_by
from handler.subwords import Subwords
from handler.tables import VectorTable
from handler.vectors import WordVectors

WORDS = ["the", "Paris", "xyzzy", "Obama", "1984", "apple", ",", "Apple", ".", ERASED, "日本", "x" * 70, "don't"]


def sentences_of(lengths, seed=0):
    draw = random.Random(seed)
    return [draw.choices(WORDS, k=length) for length in lengths]


def emitted(network, sentences):
    """Emissions of each sentence: (T, K)."""
    packing = Packing.of(list(map(len, sentences)))
    emissions, _ = network.emit(sentences, packing)
    in_order = np.empty_like(emissions)
    in_order[packing.tokens] = emissions
    return np.split(in_order, np.cumsum(list(map(len, sentences)))[:-1])


def reference(bundle, sentences):
    """The same from the network as it was trained, one sentence at a time, in float64."""
    model = bundle.model.double().eval()
    encoder = bundle.encoder()
    with torch.inference_mode():
        return [model.emissions(encoder.batch([sentence], torch.float64))[0].numpy() for sentence in sentences]


def bundle_of(hidden_dim, char_kernel=3):
    """An untrained bundle of ordinary weights."""
    torch.manual_seed(1)
    words = [word for word in WORDS if word.isascii() and word != ERASED]
    vectors = np.random.default_rng(1).normal(size=(len(words) - 2, 10)).astype(np.float32)
    model = ModelConfig(
        labels=("LOC", "PER"), word_dim=10, char_dim=4, char_filters=7, char_kernel=char_kernel, case_dim=3,
        hidden_dim=hidden_dim, max_word_chars=8,
    )  # fmt: skip
    config = BundleConfig(name="tiny", version="1.0", model=model, training=TrainingConfig())
    bundle = Bundle.new(config, list("abcdefgnoprstuy."), WordVectors.new(words[:-2], vectors, "float32"))
    with torch.no_grad():
        bundle.model.unknown.normal_()
    return bundle


@pytest.mark.parametrize(("hidden_dim", "char_kernel"), [(8, 3), (64, 1), (100, 5), (320, 3)])
def test_emissions_are_those_of_the_trained_network(hidden_dim, char_kernel):
    bundle = bundle_of(hidden_dim, char_kernel)
    network = Network(bundle.model, bundle.encoder())
    sentences = sentences_of([5, 1, 17, 2, 2, 30, 9])

    found = emitted(network, sentences)

    for emissions, expected in zip(found, reference(bundle, sentences), strict=True):
        np.testing.assert_allclose(emissions, expected, rtol=0, atol=2e-6)


def hidden_states(network, sentences):
    """Hidden states of each sentence, both directions in text order: (2, T, H)."""
    packing = Packing.of(list(map(len, sentences)))
    with torch.inference_mode(), network_module._one_thread():
        slots = network._slots_of(list(itertools.chain(*sentences)))[packing.tokens]
        forward, backward = network._run_lstm(slots, slots[packing.mirror], packing.batch_sizes, None)[0].numpy()
    in_order = np.stack([forward, backward[packing.mirror]])[:, packing.positions]
    return np.split(in_order, np.cumsum(list(map(len, sentences)))[:-1], axis=1)


def check_equal_alone_and_in_batches(network, hidden_tolerance=0.0, tolerance=1e-14):
    """Hidden states are bit-identical; emissions are float64 products, whose order of summation may differ."""
    sentences = sentences_of([1, 2, 3, 5, 8, 13, 20, 21, 34, 40, 55, 1, 7, 20, 20] * 4)
    alone = [emitted(network, [sentence])[0] for sentence in sentences]
    hidden_alone = [hidden_states(network, [sentence])[0] for sentence in sentences]
    draw = random.Random(3)
    for _ in range(25):
        picked = draw.sample(range(len(sentences)), draw.randint(2, network_module.MAX_ROWS))
        batch = [sentences[i] for i in picked]
        for i, emissions, hidden in zip(picked, emitted(network, batch), hidden_states(network, batch), strict=True):
            np.testing.assert_allclose(hidden, hidden_alone[i], rtol=0, atol=hidden_tolerance)
            np.testing.assert_allclose(emissions, alone[i], rtol=0, atol=tolerance)


@pytest.mark.parametrize("hidden_dim", [8, 100, 320])
def test_a_sentence_has_the_same_emissions_alone_and_in_any_batch(hidden_dim):
    bundle = bundle_of(hidden_dim)

    check_equal_alone_and_in_batches(Network(bundle.model, bundle.encoder()))


@pytest.mark.parametrize("instructions", ["SSE4_2", "AVX2"])
def test_batches_change_nothing_with_other_instruction_sets(instructions):
    environ = {**os.environ, "MKL_ENABLE_INSTRUCTIONS": instructions, "ATEN_CPU_CAPABILITY": "avx2"}
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_network as t; t.check_with_all_sizes()"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[4])]

    done = subprocess.run(
        [sys.executable, "-c", code, *folders], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def check_with_all_sizes():
    for hidden_dim in (100, 320):
        bundle = bundle_of(hidden_dim)
        network = Network(bundle.model, bundle.encoder())
        check_equal_alone_and_in_batches(network)


def test_where_rows_depend_on_their_number_everything_is_float64(monkeypatch):
    monkeypatch.setattr(network_module, "row_step", lambda _: None)
    bundle = bundle_of(100)
    network = Network(bundle.model, bundle.encoder())
    sentences = sentences_of([5, 1, 17, 2, 30])

    for emissions, expected in zip(emitted(network, sentences), reference(bundle, sentences), strict=True):
        np.testing.assert_allclose(emissions, expected, rtol=0, atol=1e-13)
    check_equal_alone_and_in_batches(network, hidden_tolerance=1e-13, tolerance=1e-13)


def test_row_step_finds_a_library_whose_rows_depend_on_their_number(monkeypatch):
    weight = torch.randn(2, 8, 32)
    honest = torch.baddbmm
    assert row_step([weight]) is not None

    def by_sixes(bias, rows, weights):
        return honest(bias, rows, weights) * (1 + 1e-6 * (rows.size(1) % 6))

    monkeypatch.setattr(torch, "baddbmm", by_sixes)
    assert row_step([weight]) == 6

    monkeypatch.setattr(torch, "baddbmm", lambda bias, rows, weights: honest(bias, rows, weights) * rows.size(1))
    assert row_step([weight]) is None


def test_a_sentence_has_the_same_emissions_in_windows(monkeypatch):
    bundle = bundle_of(64)
    network = Network(bundle.model, bundle.encoder())
    (sentence,) = sentences_of([333])
    (whole,) = emitted(network, [sentence])
    _, unseen = network.emit([sentence], Packing.of([333]))

    monkeypatch.setattr(network_module, "MAX_TOKENS", 64)
    (windowed,) = emitted(network, [sentence])

    np.testing.assert_allclose(windowed, whole, rtol=0, atol=1e-13)
    assert network.emit([sentence], Packing.of([333])).is_unseen.tolist() == unseen.tolist()
    asked = iter([False, False, True])
    with pytest.raises(CancelledError):
        network.emit([sentence], Packing.of([333]), check_by(lambda: next(asked)))


def test_threads_change_nothing_and_stay_as_they_were():
    bundle = bundle_of(100)
    sentences = sentences_of([20, 31, 7])
    given = torch.get_num_threads()
    found = []
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        found.append(emitted(Network(bundle.model, bundle.encoder()), sentences))
        assert torch.get_num_threads() == num_threads
    torch.set_num_threads(given)

    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_words_without_a_vector_of_their_own_are_marked(make_bundle):
    bundle = make_bundle()
    network = Network(bundle.model, bundle.encoder())
    sentences = [["xyz"], ["The", "apple", "xyz", "."], ["xyz", "the"]]

    for _ in range(2):  # computed, then cached
        _, is_unseen = network.emit(sentences, Packing.of([1, 4, 2]))
        assert is_unseen.tolist() == [True, False, False, True, False, True, False]


def test_the_cache_is_bounded_and_eviction_changes_nothing(monkeypatch):
    monkeypatch.setattr(network_module, "CACHED_WORDS", 60)
    bundle = bundle_of(64)
    network = Network(bundle.model, bundle.encoder())
    draw = random.Random(1)
    sentences = [[f"word{draw.randint(0, 300)}" for _ in range(20)] for _ in range(60)]

    found = [emitted(network, [sentence])[0] for sentence in sentences]

    fresh = Network(bundle.model, bundle.encoder())
    for sentence, emissions in zip(sentences, found, strict=True):
        np.testing.assert_array_equal(emitted(fresh, [sentence])[0], emissions)
        assert len(network._slots) + len(network._free) == 60


def test_long_words_are_not_cached():
    bundle = bundle_of(64)
    network = Network(bundle.model, bundle.encoder())

    emitted(network, [["x" * 100_000, "y" * 64, "x" * 65]])

    assert list(network._slots) == ["y" * 64]
    assert len(network._slots) + len(network._free) == network_module.CACHED_WORDS


@pytest.mark.parametrize("has_subwords", [False, True])
def test_words_of_equal_features_are_computed_once_and_differ_from_no_other(make_bundle, has_subwords, monkeypatch):
    bundle = make_bundle()
    if has_subwords:
        table = VectorTable.new(np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32), "float32")
        subwords = [Subwords(table, min_n=1, max_n=3)]
        vectors = WordVectors.new(["apple"], np.ones((1, 6), np.float32), "float32", subwords)
        bundle = replace(bundle, vectors=vectors)
    network = Network(bundle.model, bundle.encoder())
    num_computed = 0
    gate_inputs = network._weights.gate_inputs

    def counted(words, num_rows):
        nonlocal num_computed
        num_computed += len(words.rows)
        return gate_inputs(words, num_rows)

    monkeypatch.setattr(network._weights, "gate_inputs", counted)
    rare = [chr(0x4E00 + i) for i in range(300)]
    sentence = [*rare[:150], "apple", "Apple", *rare[150:]]

    (found,) = emitted(network, [sentence])

    assert num_computed == (302 if has_subwords else 3)
    np.testing.assert_allclose(found, reference(bundle, [sentence])[0], rtol=0, atol=1e-4)
