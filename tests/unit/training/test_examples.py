"""What the annotation leaves open is left open, and nothing else."""

import random

import pytest
import torch

from handler.bundle import tags_of
from handler.config import ModelConfig
from handler.errors import ConfigError
from handler.labels import Span
from training.corpora import Sentence
from training.examples import Annotator, targets

MODEL = ModelConfig(labels=("LOC", "ORG", "PER"))
TAGS = tags_of(MODEL)
SENTENCE = Sentence(("Queen", "Anne", "in", "Oslo"), (Span(0, 2, "PER"), Span(3, 4, "LOC")))


def options(example):
    return [{TAGS[i] for i in tags} for tags in example.tags]


def test_a_tagged_token_has_one_tag():
    example = Annotator(MODEL, {}).example(SENTENCE, "news")

    assert options(example) == [{"B-PER"}, {"E-PER"}, {"O"}, {"S-LOC"}]


def test_an_entity_of_one_of_two_labels_may_have_the_tags_of_both():
    sentence = Sentence(("the", "Queen", "Anne"), (Span(1, 3, "ORG|PER"),))

    assert options(Annotator(MODEL, {}).example(sentence, "news")) == [{"O"}, {"B-ORG", "B-PER"}, {"E-ORG", "E-PER"}]


def test_an_entity_that_may_be_none_may_be_untagged():
    sentence = Sentence(("Queen",), (Span(0, 1, "ORG|O"),))

    assert options(Annotator(MODEL, {}).example(sentence, "news")) == [{"S-ORG", "O"}]


def test_untagged_tokens_may_have_a_label_that_their_corpus_does_not_annotate():
    annotator = Annotator(MODEL, {"tweets": ["ORG"]})

    orgs = {"O", "B-ORG", "I-ORG", "E-ORG", "S-ORG"}
    assert options(annotator.example(SENTENCE, "tweets")) == [{"B-PER"}, {"E-PER"}, orgs, {"S-LOC"}]
    assert options(annotator.example(SENTENCE, "news"))[2] == {"O"}


def test_a_label_that_the_model_lacks_is_refused():
    with pytest.raises(ConfigError, match=r"expected labels among LOC, ORG, PER for tweets, got MISC"):
        Annotator(MODEL, {"tweets": ["MISC"]})


@pytest.mark.parametrize("name", ["lower", "upper", "title", "spacing"])
def test_a_perturbed_example_has_the_tags_of_its_words(name):
    annotator = Annotator(MODEL, {})
    sentence = Sentence(("Barack", "Hussein", "Obama", "visited", "Oslo"), (Span(0, 3, "PER"), Span(4, 5, "LOC")))
    chance = random.Random(2)

    for _ in range(50):
        changed = annotator.perturbed(annotator.example(sentence, "news"), {name: 1.0}, chance)
        assert changed == annotator.example(changed.sentence, "news")


def test_targets_are_ids_where_all_is_certain():
    examples = [Annotator(MODEL, {}).example(s, "news") for s in (SENTENCE, Sentence(("Oslo",), (Span(0, 1, "LOC"),)))]

    tags = targets(examples, len(TAGS))

    assert [[TAGS[i] for i in row] for row in tags.tolist()] == [["B-PER", "E-PER", "O", "S-LOC"], ["S-LOC", *"OOO"]]


def test_targets_are_allowed_tags_where_anything_is_open():
    annotator = Annotator(MODEL, {"tweets": ["ORG"]})
    examples = [annotator.example(SENTENCE, "tweets"), annotator.example(SENTENCE, "news")]

    allowed = targets(examples, len(TAGS))

    assert allowed.dtype == torch.bool
    for example, row in zip(examples, allowed, strict=True):
        assert [{TAGS[i] for i in token.nonzero().flatten().tolist()} for token in row] == options(example)
