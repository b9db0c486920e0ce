"""The tagger: exact offsets, true probabilities, and one answer for a text alone and in any batch."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import TextTooLongError
from contract.limits import MAX_EXPLAINED_TOKENS
from handler import tagger as tagger_module
from handler.bundle import tags_of
from handler.calibration import calibrated, log_odds
from handler.config import Calibration
from handler.labels import Span, tags_to_spans
from handler.network import inference as network
from handler.network.features import BEGIN, CASES, END, UNKNOWN
from handler.tagger import Tagger
from handler.text.sentences import split_sentences

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


def check_equal_answers_alone_and_in_batches(tagger):
    alone = [tagger.tag([text])[0] for text in TEXTS]

    assert sum(map(len, alone)) >= 5
    for order in itertools.permutations(range(len(TEXTS)), 4):
        assert tagger.tag([TEXTS[i] for i in order]) == [alone[i] for i in order]
    assert tagger.tag(TEXTS * 20) == alone * 20


def test_a_text_gets_the_same_answer_alone_and_in_any_batch(tagger):
    check_equal_answers_alone_and_in_batches(tagger)


def test_a_calibrated_text_gets_the_same_answer_alone_and_in_any_batch(calibrated_tagger):
    check_equal_answers_alone_and_in_batches(calibrated_tagger)


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


def probabilities_of(bundle, batch, span):
    """Probability that one row holds exactly *span*, by adding up all its tag paths."""
    num_tokens = batch.mask.size(1)
    tags, scheme = tags_of(bundle.config.model), bundle.config.model.scheme
    with torch.inference_mode():
        emissions = bundle.model.emissions(batch)
        paths = torch.tensor(list(itertools.product(range(len(tags)), repeat=num_tokens)))
        many = emissions.expand(len(paths), -1, -1), paths, batch.mask.expand(len(paths), -1)
        probabilities = bundle.model.crf.log_likelihood(*many).exp().tolist()
    spans = [set(tags_to_spans([tags[i] for i in path], scheme)) for path in paths.tolist()]
    return sum(p for p, inside in zip(probabilities, spans, strict=True) if span in inside)


def reference_of(make_bundle, scheme):
    """The bundle of a tagger in float64, to be asked the slow way."""
    bundle = make_bundle(scheme=scheme)
    bundle.model.double().eval()
    return bundle


def test_a_score_is_the_share_of_all_tag_paths_that_hold_exactly_that_entity(tagger, make_bundle):
    words = ["the", "Paris", "xyz", "Obama"]
    bundle = reference_of(make_bundle, tagger.config.model.scheme)
    batch = bundle.encoder().batch([words], torch.float64)

    (found,) = tagger.tag_words([words])

    assert found
    for span, score in found:
        assert score == pytest.approx(probabilities_of(bundle, batch, span), abs=1e-5)


def check_explanation(tagger, bundle, slope):
    text = "the Paris xyz Obama"
    words = text.split()
    (entities,) = tagger.tag([text])
    assert entities
    explained = tagger.explain(text, entities)

    batch = bundle.encoder().batch([words], torch.float64)
    for entity, (tokens, elsewhere) in zip(entities, explained, strict=True):
        assert elsewhere is None
        assert [token.text for token in tokens] == words
        first = text[: entity.start].count(" ")
        span = Span(first, first + entity.text.count(" ") + 1, entity.label)
        whole = log_odds(probabilities_of(bundle, batch, span))
        for i, token in enumerate(tokens):
            # The word's row of the features is made into that of an unknown word, by hand.
            erased = batch._replace(
                vectors=batch.vectors.index_fill(0, torch.tensor([i]), 0),
                known=batch.known & (torch.arange(len(words)) != i),
                cases=batch.cases.index_fill(0, torch.tensor([i]), CASES.index("other")),
                chars=batch.chars.index_fill(0, torch.tensor([i]), 0),
            )
            erased.chars[i, :3] = torch.tensor([BEGIN, UNKNOWN, END])
            expected = slope * (whole - log_odds(probabilities_of(bundle, erased, span)))
            assert token.weight == pytest.approx(expected, abs=2e-4)


def test_a_weight_is_what_the_log_odds_fall_by_when_the_token_is_erased(tagger, make_bundle):
    check_explanation(tagger, reference_of(make_bundle, tagger.config.model.scheme), slope=1.0)


def test_a_weight_is_of_the_calibrated_score(calibrated_tagger, make_bundle):
    slope = calibrated_tagger.config.calibration.slope

    check_explanation(calibrated_tagger, reference_of(make_bundle, "IOBES"), slope=slope)


def test_explanations_are_of_the_sentences_that_hold_the_entities(tagger):
    text = "Obama saw Paris.\n\n" + "the apple Obama, " * 8 + "\n\nObama saw Paris."
    (tagged,) = tagger.tag_texts([text], contexts=["sentence"])
    entities = tagged.entities

    explained = tagger.explain(text, entities, context="sentence")

    assert len(explained) == len(entities) > 1
    for entity, (tokens, elsewhere) in zip(entities, explained, strict=True):
        assert elsewhere is None
        sentence = text[tokens[0].start : tokens[-1].end]
        assert "\n" not in sentence
        assert tokens[0].start <= entity.start < entity.end <= tokens[-1].end
        assert all(text[token.start : token.end] == token.text for token in tokens)
        alone = next(one for one in tagger.tag([sentence])[0] if one.start == entity.start - tokens[0].start)
        (of_alone,) = tagger.explain(sentence, [alone])
        assert [token.weight for token in of_alone.tokens] == pytest.approx(
            [token.weight for token in tokens], abs=1e-4
        )


def test_a_text_with_character_references_is_read_as_a_browser_shows_it_and_answered_as_it_was_given(tagger):
    text, shown = "Obama&nbsp;saw Paris&#39;s apple &amp; Apple.", "Obama saw Paris's apple & Apple."

    (entities,), (of_shown,) = tagger.tag([text]), tagger.tag([shown])

    assert entities
    assert [(one.label, one.score) for one in entities] == [(one.label, one.score) for one in of_shown]
    assert [text[one.start : one.end] for one in entities] == [one.text for one in entities]
    explained, of_shown = tagger.explain(text, entities), tagger.explain(shown, of_shown)
    for tokens, of_tokens in zip(explained, of_shown, strict=True):
        assert [token.text for token in tokens] == ["Obama", "saw", "Paris", "&#39;s", "apple", "&amp;", "Apple", "."]
        assert [token.weight for token in tokens] == [token.weight for token in of_tokens]


def test_nothing_is_explained_where_nothing_is_asked(tagger):
    assert tagger.explain("the " * 1000, []) == []


def test_a_sentence_that_is_too_long_is_not_explained(tagger):
    texts = ["Obama apple Paris , " * (MAX_EXPLAINED_TOKENS // 4), "Obama apple Paris , " * 32 + "Obama"]
    fits, too_long = tagger.tag(texts)
    assert fits
    assert too_long

    assert len(tagger.explain(texts[0], fits)) == len(fits)
    with pytest.raises(TextTooLongError, match="it has 129 tokens, the limit is 128"):
        tagger.explain(texts[1], too_long)


def test_a_sentence_in_windows_gets_what_it_gets_in_one_piece(tagger, monkeypatch):
    words = random.Random(5).choices(["the", "Paris", "xyz", "Obama", ",", "apple", "1984", "Q"], k=500)
    (whole,) = tagger.tag_words([words])

    monkeypatch.setattr(network, "MAX_TOKENS", 32)
    (windowed,) = tagger.tag_words([words])

    assert whole
    assert [span for span, _ in windowed] == [span for span, _ in whole]
    assert [score for _, score in windowed] == pytest.approx([score for _, score in whole], abs=1e-6)


def test_a_long_text_whole_and_in_pieces_gets_one_answer(tagger):
    # A sentence longer than a window, ordinary ones, and one of Han, that blank lines part for certain.
    pieces = [
        "the Obama xyz , Paris saw 1984 " * 700,
        "Obama saw Paris. The apple, Apple! 😀 It was young. " * 40,
        "日本 Obama 語" * 900,
        "Paris",
    ]
    text = "\n\n".join(pieces)
    starts = list(itertools.accumulate((len(piece) + 2 for piece in pieces[:-1]), initial=0))

    def tag(texts):
        return [one.entities for one in tagger.tag_texts(texts, contexts=["sentence"] * len(texts))]

    (whole,) = tag([text])

    alone = [tag([piece])[0] for piece in pieces]
    assert tag(pieces[::-1]) == alone[::-1]
    moved = [
        entity._replace(start=entity.start + start, end=entity.end + start)
        for start, entities in zip(starts, alone, strict=True)
        for entity in entities
    ]
    assert len(whole) > 100
    assert [entity[:4] for entity in whole] == [entity[:4] for entity in moved]
    assert [entity.score for entity in whole] == pytest.approx([entity.score for entity in moved], abs=1e-5)


def test_tokens_are_counted(tagger):
    counted = tagger.tag_texts(["The apple, xyz.", "", "Obama xyz\n\nxyz"])

    assert [(one.num_tokens, one.num_unseen) for one in counted] == [(5, 1), (0, 0), (3, 2)]


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


@given(st.lists(st.integers(0, 5000), max_size=300))
def test_batches_hold_every_sentence_once_and_fit_the_network(lengths):
    groups = list(tagger_module._batches(lengths))

    assert sorted(i for group in groups for i in group) == [i for i, length in enumerate(lengths) if length]
    for group in groups:
        assert len(group) <= network.MAX_ROWS
        assert len(group) == 1 or sum(lengths[i] for i in group) <= network.MAX_TOKENS


def test_batches_of_short_sentences_are_even():
    assert [len(group) for group in tagger_module._batches([20] * 49)] == [25, 24]


def test_a_calibration_travels_with_the_bundle(tmp_path, make_bundle, calibrated_tagger):
    replace(make_bundle(), config=calibrated_tagger.config).save(tmp_path / "bundle")

    assert Tagger.load(tmp_path / "bundle").tag(TEXTS) == calibrated_tagger.tag(TEXTS)


def test_a_tagger_loads_from_a_folder(tiny_bundle, make_bundle):
    assert Tagger.load(tiny_bundle).tag(TEXTS) == Tagger(make_bundle()).tag(TEXTS)


DOCUMENT = "Obama saw the apple, Apple. The Obama! It was Obama xyz, the Apple.\n\nApple saw Paris, the Obama"


def test_the_rest_of_a_text_counts_unless_a_request_says_no(tagger):
    document, sentence = tagger.tag_texts([DOCUMENT, DOCUMENT], contexts=["document", "sentence"])

    alone = [
        entity._replace(start=entity.start + start, end=entity.end + start)
        for start, end in [(0, 27), (28, 38), (39, 67), (69, len(DOCUMENT))]
        for entity in tagger.tag([DOCUMENT[start:end]])[0]
    ]
    assert sentence.entities == alone
    assert tagger.tag([DOCUMENT]) == [document.entities]
    assert document.entities != alone


def test_one_sentence_is_the_same_in_both_contexts(tagger):
    one = "Obama saw Paris and Obama saw the Apple"

    document, sentence = tagger.tag_texts([one, one], contexts=["document", "sentence"])

    assert document == sentence


def test_documents_of_words_are_tagged_as_texts_are(tagger):
    sentences = [sentence.words for sentence in split_sentences(DOCUMENT)]
    (entities,) = tagger.tag([DOCUMENT])

    other, (found, *_) = tagger.tag_documents([[["the"], []], sentences]), tagger.tag_documents([sentences, []])

    assert other[1] == found
    assert [(span.label, score) for spans in found for span, score in spans] == [
        (entity.label, entity.score) for entity in entities
    ]


def test_an_explanation_tells_what_the_rest_of_the_text_changed(tagger):
    (entities,) = tagger.tag([DOCUMENT])
    (alone,) = tagger.tag_texts([DOCUMENT], contexts=["sentence"])

    explained = tagger.explain(DOCUMENT, entities)

    assert len(explained) == len(entities)
    changed = [(entity, one.elsewhere) for entity, one in zip(entities, explained, strict=True) if one.elsewhere]
    assert changed
    assert {entity for entity in entities if entity not in alone.entities} == {entity for entity, _ in changed}
    for entity, elsewhere in changed:
        assert elsewhere.alone is None or elsewhere.alone in alone.entities
        assert elsewhere.mentions
        assert all(DOCUMENT[mention.start : mention.end] == mention.text for mention in elsewhere.mentions)
        assert entity not in elsewhere.mentions


def test_the_weights_of_an_explanation_are_of_the_answer(tagger):
    (entities,) = tagger.tag([DOCUMENT])
    explained = tagger.explain(DOCUMENT, entities)
    by_sentence = tagger.explain(DOCUMENT, entities, context="sentence")

    # What the rest of the text adds moves an entity's score, and so what each token is worth for it.
    assert [one.tokens for one in explained] != [one.tokens for one in by_sentence]
    assert all(one.elsewhere is None for one in by_sentence)
