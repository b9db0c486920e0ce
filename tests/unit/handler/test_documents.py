"""The second look at a text against a search of every place by every name, and the votes against sums by hand."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler import documents
from handler.documents import Mention, agreed, deciding, find_shifts
from handler.labels import Span
from handler.network.decoding import Shift
from handler.pieces import CancelledError

WORDS = ["Ann", "ann", "ANN", "Lee", "LEE", "of", "Bank", "America", "BOA", "van", "Oslo"]


def words(*texts):
    return [text.split() for text in texts]


def mention(sentences, i, name, label, marginal=0.5):
    parts = name.split()
    start = next(k for k in range(len(sentences[i])) if sentences[i][k : k + len(parts)] == parts)
    return Mention(i, Span(start, start + len(parts), label), marginal)


def slow_shifts(sentences, mentions):
    """The same by the definition: every place against every mention."""
    names = [(m, tuple(sentences[m.sentence][m.span.start : m.span.end])) for m in mentions]
    names = [(m, name) for m, name in names if len(name) <= documents.MAX_NAME_WORDS]
    known = {name for _, name in names}
    known |= {n[k:] for m, n in names if m.span.label == "PER" and n[-1] != n[-1].lower() for k in range(1, len(n))}
    spans = [(i, a, b) for i, s in enumerate(sentences) for a in range(len(s)) for b in range(a + 1, len(s) + 1)]
    found = []
    for i, a, b in spans:
        name = tuple(sentences[i][a:b])
        if any(k == i and d - c > b - a and c < b and a < d and tuple(sentences[k][c:d]) in known for k, c, d in spans):
            continue
        sums = {}
        for m, other in names:
            if (m.sentence, m.span.start, m.span.end) == (i, a, b):
                continue
            relations = []
            if other == name:
                relations.append(0.3)
            elif [w.lower() for w in other] == [w.lower() for w in name] and name[0][0].isupper():
                relations.append(0.8)
            is_ending = len(other) > len(name) and other[-len(name) :] == name
            if m.span.label == "PER" and is_ending and name[-1] != name[-1].lower():
                relations.append(1.5)
            initials = "".join(w[0] for w in other if w[0].isupper())
            if len(initials) > 2 and name == (initials,):
                relations.append(2.5)
            for weight in relations:
                sums[m.span.label, weight] = sums.get((m.span.label, weight), 0) + m.marginal
        shifts = {}
        for (label, weight), total in sums.items():
            if total > 0.01:
                shifts[label] = shifts.get(label, 0) + weight * math.log(1 + total / 0.3)
        found += [(i, a, b, label, pytest.approx(value)) for label, value in sorted(shifts.items())]
    return found


@st.composite
def documents_with_mentions(draw):
    rng = random.Random(draw(st.integers(0, 10**6)))
    sentences = [rng.choices(WORDS, k=rng.randint(1, 8)) for _ in range(rng.randint(1, 5))]
    mentions = []
    for i, sentence in enumerate(sentences):
        start = 0
        while start < len(sentence):
            end = min(len(sentence), start + rng.randint(1, 4))
            if rng.random() < 0.5:
                label = rng.choice(["PER", "ORG", "LOC"])
                mentions.append(Mention(i, Span(start, end, label), round(rng.random(), 3)))
            start = end
    return sentences, mentions


@settings(max_examples=300, deadline=None)
@given(documents_with_mentions())
def test_shifts_are_those_of_a_search_of_every_place_by_every_name(document):
    sentences, mentions = document

    found = sorted((i, *shift) for i, shift in find_shifts(sentences, mentions))

    assert found == slow_shifts(sentences, mentions)


@pytest.mark.parametrize(
    ("texts", "name", "label", "places"),
    [
        (["Kofi Annan spoke .", "Annan left ."], "Kofi Annan", "PER", [(1, 0, 1)]),
        (
            ["Robert de Niro came .", "De Niro , de Niro , Niro ."],
            "Robert de Niro",
            "PER",
            [(1, 1, 2), (1, 3, 5), (1, 6, 7)],
        ),
        (["Kofi Annan spoke .", "Kofi left , annan left ."], "Kofi Annan", "PER", []),
        (["the Bank of America", "America"], "Bank of America", "ORG", []),
        (["the United Arab Emirates ( UAE )"], "United Arab Emirates", "LOC", [(0, 5, 6)]),
        (["the Arab Emirates ( AE )"], "Arab Emirates", "LOC", []),
        (["Apple rose .", "an apple , an APPLE"], "Apple", "ORG", [(1, 4, 5)]),
        (["in Oslo .", "Oslo !"], "Oslo", "LOC", [(1, 0, 1)]),
    ],
)
def test_where_one_name_speaks_for_its_label(texts, name, label, places):
    sentences = words(*texts)

    found = find_shifts(sentences, [mention(sentences, 0, name, label)])

    assert [(i, shift.start, shift.end) for i, shift in found] == places
    assert all(shift.label == label and shift.log_odds > 0 for _, shift in found)


def test_a_name_inside_a_longer_one_is_left_alone():
    sentences = words("the Bank of America", "in America", "a Bank of America")
    mentions = [mention(sentences, 0, "Bank of America", "ORG"), mention(sentences, 1, "America", "LOC")]

    found = find_shifts(sentences, mentions)

    assert [(i, shift[:3]) for i, shift in found] == [(2, (1, 4, "ORG"))]


def test_more_mentions_weigh_more_and_a_mention_does_not_speak_for_itself():
    sentences = words("Oslo", "Oslo", "Oslo", "Rome")
    mentions = [mention(sentences, i, "Oslo", "LOC", 0.9) for i in (0, 1)] + [mention(sentences, 3, "Rome", "LOC", 0.9)]

    by_sentence = dict(find_shifts(sentences, mentions))

    assert by_sentence.keys() == {0, 1, 2}
    assert by_sentence[0] == by_sentence[1] == Shift(0, 1, "LOC", pytest.approx(0.3 * math.log(1 + 0.9 / 0.3)))
    assert by_sentence[2].log_odds == pytest.approx(0.3 * math.log(1 + 1.8 / 0.3))


def test_marginals_that_differ_in_the_last_bits_shift_by_the_same():
    sentences = words("Oslo", "Oslo")

    def shifts(marginal):
        return find_shifts(sentences, [mention(sentences, 0, "Oslo", "LOC", marginal)])

    assert shifts(0.7) == shifts(0.7 + 1e-14)


@pytest.mark.parametrize(
    ("marginals", "labels"),
    [
        ([("PER", 0.6), ("PER", 0.6), ("ORG", 0.7)], ["PER", "PER", "PER"]),
        ([("PER", 0.6), ("ORG", 0.5)], ["PER", "ORG"]),  # not one and a half times as much
        ([("PER", 0.99), ("PER", 0.99), ("LOC", 0.95)], ["PER", "PER", "LOC"]),  # two things with one name
        ([("PER", 0.5), ("LOC", 0.5), ("LOC", 0.5)], ["LOC", "LOC", "LOC"]),
    ],
)
def test_a_name_gets_the_label_that_most_of_the_text_gives_it(marginals, labels):
    sentences = words(*["Washington spoke"] * len(marginals))
    mentions = [Mention(i, Span(0, 1, label), marginal) for i, (label, marginal) in enumerate(marginals)]

    found = agreed(sentences, mentions)

    assert [one.span.label for one in found] == labels
    assert [one.marginal for one in found] == [marginal for _, marginal in marginals]


@settings(max_examples=200, deadline=None)
@given(documents_with_mentions())
def test_every_shift_has_mentions_that_decided(document):
    sentences, mentions = document

    for i, (start, end, label, _) in find_shifts(sentences, mentions):
        assert deciding(sentences, mentions, i, [Span(start, end, label)])


def test_a_cancelled_text_is_not_searched():
    def check():
        raise CancelledError

    with pytest.raises(CancelledError):
        find_shifts(words("Oslo", "Oslo"), [Mention(0, Span(0, 1, "LOC"), 0.5)], check)


def test_the_work_grows_with_the_text_alone():
    def num_looks(count):
        looks = 0

        def check():
            nonlocal looks
            looks += 1

        sentences = words(*["Kofi Annan met Kofi Annan"] * count)
        mentions = [Mention(i, Span(a, a + 2, "PER"), 0.9) for i in range(count) for a in (0, 3)]
        assert len(find_shifts(sentences, mentions, check)) == 2 * count
        return looks

    assert num_looks(16_384) <= 4.5 * num_looks(4096)  # a check for each 2,048 steps
