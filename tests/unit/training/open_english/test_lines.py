"""Lines of templates and names: what the server's tokeniser makes of them, and what is held out."""

import random
import re

import pytest

from handler.text.tokens import tokenize
from training.open_english.lines import _FILLERS, as_served, fill, make_lines, templates_of
from training.open_english.names import LABEL_OF, PARTS, Names, part_of
from training.open_english.templates import TEMPLATES

TOWNS = ["Leeds", "New York", "Oslo"]
CLUBS = [
    f"{town} {word}" for town in ("Bayer", "Real", "Dynamo", "Sankt Pauli") for word in "A1 B2 C3 D4 E5 F6".split()
]


@pytest.fixture(scope="module")
def made():
    """Lines of each part."""
    return {
        part: list(make_lines(part, Names(part, TOWNS, CLUBS), 2 * len(templates_of(part)), random.Random(7)))
        for part in PARTS
    }


def shape(template):
    """The words and kinds of names of *template*, without marks and with all numbers alike."""
    numbers_alike = re.sub(r"\{(\w+)\}", lambda slot: f" {slot[0] if slot[1] in LABEL_OF else '#'} ", template)
    return " ".join(re.sub(r"[^\w{}#]+", " ", numbers_alike).split()).lower()


@pytest.mark.parametrize("part", PARTS)
def test_entities_are_names_of_their_labels_in_the_text(part):
    chance, names = random.Random(1), Names(part, TOWNS, CLUBS)

    for _, template in templates_of(part):
        text, entities = fill(template, names, chance)

        slots = [kind.lower() for kind in re.findall(r"\{(\w+)\}", template)]
        assert [label for _, _, label in entities] == [LABEL_OF[kind] for kind in slots if kind in LABEL_OF]
        assert all(text[start:end] == text[start:end].strip() != "" for start, end, _ in entities)
        assert "{" not in text


@pytest.mark.parametrize("part", PARTS)
def test_spans_are_within_the_sentence_in_order_and_apart(made, part):
    for sentence in made[part]:
        edges = [edge for span in sentence.spans for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert all(span.start < span.end <= len(sentence.words) for span in sentence.spans)


@pytest.mark.parametrize("part", PARTS)
def test_words_are_those_that_the_tokeniser_makes_of_the_line(part):
    chance, names = random.Random(3), Names(part, TOWNS, CLUBS)

    for _, template in templates_of(part):
        text, entities = fill(template, names, chance)
        sentences = as_served(text, entities)
        assert sentences is None or [w for s in sentences for w in s.words] == tokenize(text).words


def test_a_line_whose_name_is_no_whole_word_is_none():
    assert as_served("Leeds2", [(0, 5, "ORG")]) is None


def test_lines_hold_every_label_and_lines_without_any(made):
    labels = {span.label for sentence in made["train"] for span in sentence.spans}

    assert labels == {"PER", "ORG", "LOC", "MISC"}
    assert any(not sentence.spans for sentence in made["train"])


@pytest.mark.parametrize(("one", "other"), [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_no_two_parts_share_a_template_or_one_that_differs_in_marks_and_numbers_alone(one, other):
    shapes = [{shape(template) for _, template in templates_of(part)} for part in (one, other)]

    assert shapes[0] & shapes[1] == set()


@pytest.mark.parametrize(("one", "other"), [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_no_two_parts_share_a_drawn_person_club_or_firm(one, other):
    def drawn(part, kind):
        names, chance = Names(part, TOWNS, CLUBS), random.Random(11)
        return {names.draw(kind, chance) for _ in range(200)}

    for kind in ("surname", "first", "club", "hyphened"):
        found = drawn(one, kind) & drawn(other, kind)
        assert {name for name in found if not any(town in name for town in TOWNS)} == set(), kind


def test_a_name_is_of_the_same_part_in_any_case():
    assert {part_of("Leeds United"), part_of("LEEDS UNITED")} in [{part} for part in PARTS]
    assert {part_of(f"name {i}") for i in range(200)} == set(PARTS)


def test_every_slot_of_a_template_is_a_kind_of_name_or_a_filler():
    slots = {
        slot.lower() for part in TEMPLATES.values() for text in part.values() for slot in re.findall(r"\{(\w+)\}", text)
    }

    assert slots <= {*LABEL_OF, *_FILLERS}


def test_the_same_chance_makes_the_same_lines():
    one, same, other = (
        list(make_lines("train", Names("train", TOWNS, CLUBS), 200, random.Random(seed))) for seed in (1, 1, 2)
    )

    assert one == same != other


def test_words_in_capitals_keep_their_entities(made):
    shouted = [s for s in made["train"] if s.spans and " ".join(s.words).isupper() and len(s.words) > 4]

    assert shouted
