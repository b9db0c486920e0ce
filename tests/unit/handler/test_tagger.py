"""The tagger: exact offsets, true probabilities, and one answer for a text in any company."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handler import tagger as tagger_module
from handler.calibration import calibrated
from handler.config import Calibration
from handler.labels import Span, tags_to_spans
from handler.tagger import Tagger

TEXTS = [
    "Obama saw Paris. The apple, Apple!\n\nTwo",
    "",
    "the",
    "A much longer sentence about the apple that Obama bought in Paris in 1984, when the Apple was young and cheap",
    "👨\u200d👩\u200d👧 e\u0301 日本 \ud800 \x00 x\u200by",
    "the apple " * 60,
]


@pytest.fixture(scope="module", params=["BIO", "IOBES"])
def tagger(request, make_bundle):
    return Tagger(make_bundle(scheme=request.param))


@pytest.fixture(scope="module", params=[0.2, 5.0], ids=lambda slope: f"slope {slope}")
def calibrated_tagger(request, make_bundle):
    bundle = make_bundle()
    calibration = Calibration(request.param, {"LOC": 0.5, "PER": -2.0})
    return Tagger(replace(bundle, config=replace(bundle.config, calibration=calibration)))


def check_one_answer_in_any_company(tagger):
    alone = [tagger.tag([text])[0] for text in TEXTS]

    assert sum(map(len, alone)) >= 5
    for order in itertools.permutations(range(len(TEXTS)), 4):
        assert tagger.tag([TEXTS[i] for i in order]) == [alone[i] for i in order]
    assert tagger.tag(TEXTS * 20) == alone * 20


def test_a_text_gets_the_same_answer_alone_and_in_any_batch(tagger):
    check_one_answer_in_any_company(tagger)


def test_a_calibrated_text_gets_the_same_answer_alone_and_in_any_batch(calibrated_tagger):
    check_one_answer_in_any_company(calibrated_tagger)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(st.characters(), max_size=60), max_size=5))
def test_offsets_give_the_entity_back_from_any_text(tagger, texts):
    found = tagger.tag(texts)

    assert len(found) == len(texts)
    for text, entities in zip(texts, found, strict=True):
        assert all(text[entity.start : entity.end] == entity.text != "" for entity in entities)
        assert all(0 <= entity.score <= 1 for entity in entities)
        bounds = [bound for entity in entities for bound in (entity.start, entity.end)]
        assert bounds == sorted(bounds)


def test_a_score_is_the_share_of_all_tag_paths_that_hold_exactly_that_entity(tagger):
    words = ["the", "Paris", "xyz", "Obama"]
    batch = tagger._encoder.batch([words], torch.float64)
    tags, scheme = tagger._tags, tagger.config.model.scheme
    with torch.inference_mode():
        emissions = tagger._model.emissions(batch)
        paths = torch.tensor(list(itertools.product(range(len(tags)), repeat=len(words))))
        many = emissions.expand(len(paths), -1, -1), paths, batch.mask.expand(len(paths), -1)
        probabilities = tagger._model.crf.log_likelihood(*many).exp()
    spans = [set(tags_to_spans([tags[i] for i in path], scheme)) for path in paths.tolist()]

    (found,) = tagger.tag_words([words])

    assert found
    for span, score in found:
        expected = sum(p for p, inside in zip(probabilities.tolist(), spans, strict=True) if span in inside)
        assert score == pytest.approx(expected, abs=1e-6)


def test_a_calibration_changes_the_scores_and_nothing_else(calibrated_tagger, make_bundle):
    calibration = calibrated_tagger.config.calibration
    uncalibrated = Tagger(make_bundle()).tag(TEXTS)

    found = calibrated_tagger.tag(TEXTS)

    assert {entity.label for entities in found for entity in entities} == {"LOC", "PER"}
    assert found == [
        [
            entity._replace(score=calibrated(entity.score, calibration.slope, calibration.offsets[entity.label]))
            for entity in entities
        ]
        for entities in uncalibrated
    ]


def test_sentences_without_words_have_no_entities(tagger):
    assert tagger.tag_words([]) == []
    assert tagger.tag_words([[], ["the"], []])[::2] == [[], []]
    assert tagger.tag([]) == []


def test_tagged_spans_never_overlap_and_stay_in_their_sentence(tagger):
    for spans in tagger.tag_words([["the"] * n for n in range(1, 30)]):
        found = [span for span, _ in spans]
        assert all(isinstance(span, Span) for span in found)
        assert all(a.end <= b.start for a, b in itertools.pairwise(found))


@given(st.lists(st.integers(0, 5000), max_size=80))
def test_batches_hold_every_sentence_once_with_little_padding(lengths):
    groups = list(tagger_module._batches(lengths))

    assert sorted(i for group in groups for i in group) == [i for i, length in enumerate(lengths) if length]
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or longest * len(group) <= tagger_module.MAX_BATCH_TOKENS
        assert longest * 3 <= min(lengths[i] for i in group) * 4 + 12


def test_a_calibration_travels_with_the_bundle(tmp_path, make_bundle, calibrated_tagger):
    replace(make_bundle(), config=calibrated_tagger.config).save(tmp_path / "bundle")

    assert Tagger.load(tmp_path / "bundle").tag(TEXTS) == calibrated_tagger.tag(TEXTS)


def test_a_tagger_loads_from_a_folder(tiny_bundle, make_bundle):
    assert Tagger.load(tiny_bundle).tag(TEXTS) == Tagger(make_bundle()).tag(TEXTS)
