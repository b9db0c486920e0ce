"""Scores against conlleval, the port of the shared tasks' own script, against seqeval, and a table made by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import conlleval
import pytest
import seqeval.metrics.sequence_labeling
import seqeval.metrics.v1
from hypothesis import assume, given
from hypothesis import strategies as st
from seqeval.scheme import IOB2

from handler.labels import Span, tags_to_spans
from handler.tagger import ScoredSpan, Tagger
from training.corpora import Sentence
from training.errors import CorpusError, InputError
from training.scoring import evaluation as evaluation_module
from training.scoring.evaluation import (
    Average,
    Score,
    SpanError,
    TaggedSentence,
    comparable,
    evaluate,
    of_annotated,
    score_spans,
    score_tagged,
    span_errors,
    table,
    tag_corpora,
    tag_corpus,
    tag_sentences,
)

HAND_GOLD = [[Span(0, 2, "PER"), Span(4, 5, "LOC")], [Span(0, 1, "ORG")], []]
HAND_FOUND = [[Span(0, 2, "PER"), Span(4, 6, "LOC")], [Span(0, 1, "LOC")], [Span(2, 3, "PER")]]


def test_scores_of_a_table_made_by_hand():
    evaluation = score_spans(HAND_GOLD, HAND_FOUND)

    assert evaluation.labels == {"LOC": Score(0, 2, 1), "ORG": Score(0, 0, 1), "PER": Score(1, 2, 1)}
    assert evaluation.micro == Score(1, 4, 3)
    assert (evaluation.micro.precision, evaluation.micro.recall) == (1 / 4, 1 / 3)
    assert evaluation.micro.f1 == pytest.approx(2 / 7)
    # LOC and ORG score nothing; PER has precision 1/2, recall 1 and F1 2/3.
    assert evaluation.macro == pytest.approx((1 / 6, 1 / 3, 2 / 9))


def test_what_metrics_json_holds():
    document = score_spans(HAND_GOLD, HAND_FOUND).to_dict()

    assert json.loads(json.dumps(document)) == {
        "micro": {"precision": 0.25, "recall": 0.3333, "f1": 0.2857, "correct": 1, "predicted": 4, "gold": 3},
        "macro": {"precision": 0.1667, "recall": 0.3333, "f1": 0.2222},
        "labels": {
            "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "correct": 0, "predicted": 2, "gold": 1},
            "ORG": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "correct": 0, "predicted": 0, "gold": 1},
            "PER": {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "correct": 1, "predicted": 2, "gold": 1},
        },
    }


sentence = st.lists(
    st.tuples(*[st.sampled_from(["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"])] * 2), min_size=1, max_size=12
)


def well_formed(tags):
    """*Tags* with every I that continues nothing turned into B: what conlleval reads without repairing it."""
    fixed = []
    for tag in tags:
        continues = bool(fixed) and fixed[-1][1:] == tag[1:] and fixed[-1] != "O"
        fixed.append(f"B{tag[1:]}" if tag[0] == "I" and not continues else tag)
    return fixed


@given(st.lists(sentence, min_size=1, max_size=8))
def test_scores_agree_with_conlleval(sentences):
    gold = [well_formed([gold for gold, _ in rows]) for rows in sentences]
    found = [well_formed([found for _, found in rows]) for rows in sentences]
    lines = [
        line
        for gold_tags, found_tags in zip(gold, found, strict=True)
        for line in [*(f"w {g} {f}" for g, f in zip(gold_tags, found_tags, strict=True)), ""]
    ]

    micro = score_spans(*([tags_to_spans(tags, "BIO") for tags in side] for side in (gold, found))).micro

    expected = conlleval.evaluate(lines)["overall"]["chunks"]
    assert micro._asdict() == {
        "correct": expected["stats"]["correct"],
        "predicted": expected["stats"]["pred"],
        "gold": expected["stats"]["gold"],
    }
    if micro.gold and micro.predicted:  # where there is nothing, conlleval says 1 and we say 0
        assert micro.precision == pytest.approx(expected["evals"]["prec"])
        assert micro.recall == pytest.approx(expected["evals"]["rec"])
        assert micro.f1 == pytest.approx(expected["evals"]["f1"])


ORACLES = {
    "default": lambda gold, found, average: seqeval.metrics.sequence_labeling.precision_recall_fscore_support(
        gold, found, average=average, zero_division=0
    ),
    "strict": lambda gold, found, average: seqeval.metrics.v1.precision_recall_fscore_support(
        gold, found, average=average, zero_division=0, scheme=IOB2
    ),
}


@pytest.mark.parametrize("mode", ORACLES)
@given(sentences=st.lists(sentence, min_size=1, max_size=8))
def test_scores_agree_with_seqeval(mode, sentences):
    gold = [well_formed([gold for gold, _ in rows]) for rows in sentences]
    found = [well_formed([found for _, found in rows]) for rows in sentences]
    assume(any(tag != "O" for tags in gold + found for tag in tags))

    ours = score_spans(*([tags_to_spans(tags, "BIO") for tags in side] for side in (gold, found)))

    for average in ("micro", "macro"):
        score = getattr(ours, average)
        precision, recall, f1, _ = ORACLES[mode](gold, found, average)
        assert (score.precision, score.recall, score.f1) == pytest.approx((precision, recall, f1))
    by_label = zip(*ORACLES[mode](gold, found, None), strict=True)  # labels are sorted there too
    assert [(score.precision, score.recall, score.f1, score.gold) for score in ours.labels.values()] == [
        pytest.approx(scores) for scores in by_label
    ]


def test_only_some_labels_may_count():
    assert score_spans(HAND_GOLD, HAND_FOUND, {"PER"}).micro == Score(1, 2, 1)


def test_nothing_to_find_scores_nothing():
    assert score_spans([[]], [[]]).micro == Score(0, 0, 0)
    assert score_spans([[]], [[]]).micro.f1 == 0
    assert score_spans([[]], [[]]).macro == Average(0, 0, 0)


def test_the_table_lines_up():
    lines = table(score_spans(HAND_GOLD, HAND_FOUND)).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[-2].split() == ["micro", "25.00%", "33.33%", "28.57%", "3", "4"]
    assert lines[-1].split() == ["macro", "16.67%", "33.33%", "22.22%", "3", "4"]


@pytest.mark.parametrize(
    ("gold", "predicted", "kinds"),
    [
        ([Span(0, 2, "PER")], [Span(0, 2, "PER")], []),
        ([Span(0, 2, "PER")], [], ["missed"]),
        ([], [Span(0, 2, "PER")], ["spurious"]),
        ([Span(0, 2, "PER")], [Span(0, 2, "LOC")], ["label"]),
        ([Span(0, 2, "PER")], [Span(1, 2, "PER")], ["boundary"]),
        ([Span(0, 2, "PER")], [Span(1, 3, "LOC")], ["both"]),
        ([Span(0, 2, "PER")], [Span(2, 3, "PER")], ["missed", "spurious"]),  # neighbours do not overlap
        ([Span(0, 4, "PER")], [Span(0, 2, "LOC"), Span(3, 4, "PER")], ["spurious", "boundary"]),  # the label first
        ([Span(0, 4, "PER")], [Span(0, 1, "PER"), Span(1, 4, "PER")], ["spurious", "boundary"]),  # then the overlap
        ([Span(0, 2, "PER"), Span(2, 4, "LOC")], [Span(0, 4, "LOC")], ["missed", "boundary"]),
    ],
)
def test_errors_are_told_apart(gold, predicted, kinds):
    errors = span_errors(gold, predicted)

    assert [error.kind for error in errors] == kinds


@st.composite
def spans(draw):
    """Spans of a sentence of 12 tokens: in order, without overlap."""
    borders = sorted(draw(st.sets(st.integers(0, 12), max_size=8)))
    pairs = zip(borders[::2], borders[1::2], strict=False)
    return [Span(start, end, draw(st.sampled_from(["PER", "LOC", "ORG"]))) for start, end in pairs]


@given(spans(), spans())
def test_every_span_that_is_not_right_stands_in_one_error(gold, predicted):
    errors = span_errors(gold, predicted)

    assert sorted(error.gold for error in errors if error.gold) == sorted(set(gold) - set(predicted))
    assert sorted(error.predicted for error in errors if error.predicted) == sorted(set(predicted) - set(gold))
    assert all(
        max(error.gold.start, error.predicted.start) < min(error.gold.end, error.predicted.end)
        for error in errors
        if error.gold and error.predicted
    )
    alone = [error for error in errors if error.kind in {"missed", "spurious"}]
    assert not any(
        max(one.gold.start, other.predicted.start) < min(one.gold.end, other.predicted.end)
        for one in alone
        for other in alone
        if one.gold and other.predicted
    )


def test_errors_come_in_the_order_of_the_sentence():
    errors = span_errors([Span(6, 7, "PER"), Span(0, 1, "PER")], [Span(3, 4, "PER")])

    assert errors == [
        SpanError(Span(0, 1, "PER"), None),
        SpanError(None, Span(3, 4, "PER")),
        SpanError(Span(6, 7, "PER"), None),
    ]


class FakeTagger:
    """Finds every capitalised word: those in -a are places, those in -y works, others persons."""

    def __init__(self, person="person", place="place", work="work"):
        self.config = SimpleNamespace(model=SimpleNamespace(labels=(person, place, work)))

    def tag_words(self, sentences):
        person, place, work = self.config.model.labels
        by_letter = {"a": place, "y": work}
        return [
            [
                ScoredSpan(Span(i, i + 1, by_letter.get(word[-1], person)), 0.75)
                for i, word in enumerate(words)
                if word.istitle()
            ]
            for words in sentences
        ]


def test_sentences_stay_in_order_however_many_there_are():
    sentences = [Sentence(("x",) * (i % 7) + ("Ann",), ()) for i in range(1200)]

    found = tag_sentences(FakeTagger(), sentences)

    assert found == [[ScoredSpan(Span(i % 7, i % 7 + 1, "person"), 0.75)] for i in range(1200)]


def test_a_tagger_is_scored_on_some_labels():
    sentences = [Sentence(("Ann", "in", "Riga"), (Span(0, 1, "person"),))]

    assert evaluate(FakeTagger(), sentences).micro == Score(1, 2, 1)
    assert evaluate(FakeTagger(), sentences, {"person"}).micro == Score(1, 1, 1)


def test_labels_that_a_corpus_never_annotates_do_not_count():
    sentences = [Sentence(("Ann", "in", "Riga"), (Span(0, 1, "person"),)), Sentence(("a", "Village"), ())]

    tagged = of_annotated(tag_corpus(FakeTagger(), sentences, "dev"))

    person = ScoredSpan(Span(0, 1, "person"), 0.75)
    assert [sentence.found for sentence in tagged] == [(person,), (ScoredSpan(Span(1, 2, "person"), 0.75),)]


def test_the_scores_are_those_of_all_sentences():
    right, wrong = (ScoredSpan(Span(0, 1, label), 0.5) for label in ("PER", "LOC"))
    tagged = [TaggedSentence(("Ann",), (Span(0, 1, "PER"),), (found,)) for found in (right, wrong, wrong)]

    assert score_tagged(tagged).micro == Score(1, 3, 3)


def test_the_map_of_a_training_run_fits_the_model_that_came_out_of_it():
    training_map = {"ORG": "MISC", "MISC": "O", "PER": "PER"}

    assert comparable(["MISC", "PER"], training_map) == {"MISC": "MISC", "PER": "PER"}


CORPUS = "\nAnn\tB-PER\nsees\tO\nRiga\tB-LOC\n\nGuernsey\tB-LOC\nin\tO\n1937\tB-TIME\n"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "native.conll"
    path.write_text(CORPUS)
    return path


def test_one_map_compares_across_label_sets(corpus):
    labels = {"PER": "PER", "LOC": "LOC", "TIME": "O", "person": "PER", "place": "LOC", "work": "O"}

    (tagged,) = tag_corpora(FakeTagger(), [corpus], labels)

    assert tagged.name == str(corpus)
    assert tagged.lines == [2, 6]
    assert tagged.sentences == [
        TaggedSentence(
            ("Ann", "sees", "Riga"),
            (Span(0, 1, "PER"), Span(2, 3, "LOC")),
            (ScoredSpan(Span(0, 1, "PER"), 0.75), ScoredSpan(Span(2, 3, "LOC"), 0.75)),
        ),
        TaggedSentence(("Guernsey", "in", "1937"), (Span(0, 1, "LOC"),), ()),
    ]
    assert tagged.evaluation.labels == {"LOC": Score(1, 1, 2), "PER": Score(1, 1, 1)}


def texts_of(spans, words):
    return [("".join(words[start:end]), label) for start, end, label in spans]


@pytest.mark.parametrize("perturb", [None, "lower", "upper", "title", "spacing"])
def test_texts_are_scored_as_the_server_reads_them(tmp_path, caplog, perturb):
    text = (
        "The Nato-led force and the Paris-based Reuters staff met anti-Obama voters in London. We saw Who? What? too."
    )
    names = [("Nato", "ORG"), ("Paris", "LOC"), ("Reuters", "ORG"), ("Obama", "PER"), ("London", "LOC")]
    entities = [[text.index(name), text.index(name) + len(name), label] for name, label in names]
    title = text.index("Who? What?")
    path = tmp_path / "led.jsonl"
    path.write_text(json.dumps({"text": text, "entities": [*entities, [title, title + len("Who? What?"), "MISC"]]}))
    tagger = Tagger.load(Path("models/en"))

    (corpus,) = tag_corpora(tagger, [path], perturb=perturb)

    assert "4 of 6 entities cannot be found" in caplog.text
    scores = corpus.evaluation
    assert scores.micro.gold == 6
    assert scores.micro.correct <= 2
    if perturb is None:
        served = [(entity.text, entity.label) for entity in tagger.tag([text])[0]]
        words, _, found = corpus.sentences[0]
        assert texts_of([span for span, _ in found], words) == [
            (name, label) for name, label in served if name in text[:title]
        ]
        assert {("Reuters", "ORG"), ("London", "LOC")} <= set(served)
        assert scores.micro.correct == 2


def test_a_corpus_is_scored_in_another_guise(corpus):
    labels = {"PER": "PER", "LOC": "LOC", "TIME": "O", "person": "PER", "place": "LOC", "work": "O"}

    (tagged,) = tag_corpora(FakeTagger(), [corpus], labels, perturb="upper")

    assert [sentence.words for sentence in tagged.sentences] == [("ANN", "SEES", "RIGA"), ("GUERNSEY", "IN", "1937")]
    assert [sentence.found for sentence in tagged.sentences] == [(), ()]  # it looks for one capital
    assert tagged.evaluation.micro == Score(0, 0, 3)


def test_only_some_labels_may_be_compared(corpus):
    (tagged,) = tag_corpora(FakeTagger("PER", "LOC", "MISC"), [corpus], only=["PER"])

    assert tagged.evaluation.labels == {"PER": Score(1, 1, 1)}
    assert [sentence.gold for sentence in tagged.sentences] == [(Span(0, 1, "PER"),), ()]
    assert [sentence.found for sentence in tagged.sentences] == [(ScoredSpan(Span(0, 1, "PER"), 0.75),), ()]


def test_a_file_without_the_labels_that_count_is_pointed_out(corpus, caplog):
    tag_corpora(FakeTagger("PER", "LOC", "MISC"), [corpus], only=["PER", "MISC"])
    assert caplog.text == ""

    tag_corpora(FakeTagger("PER", "LOC", "MISC"), [corpus], only=["MISC"])

    assert "native.conll: no MISC annotated, but LOC, PER, TIME" in caplog.text


def test_a_label_that_the_model_cannot_find_is_named(corpus):
    tagger = FakeTagger("PER", "LOC", "MISC")

    with pytest.raises(CorpusError, match=r"native\.conll: expected labels of LOC, MISC, PER, got TIME; --label-map"):
        tag_corpora(tagger, [corpus])
    with pytest.raises(CorpusError, match=r"expected labels of LOC, MISC, PER, got TIMEX"):
        tag_corpora(tagger, [corpus], {"PER": "PER", "LOC": "LOC", "TIME": "TIMEX"})
    with pytest.raises(InputError, match=r"--labels: expected labels of LOC, MISC, PER, got 'TIME'"):
        tag_corpora(tagger, [corpus], only=["PER", "TIME"])


def test_a_label_that_is_never_annotated_is_pointed_out(corpus, caplog):
    labels = {"PER": "PER", "LOC": "LOC", "TIME": "O"}

    tag_corpora(FakeTagger("PER", "LOC", "MISC"), [corpus], labels)

    assert "native.conll: MISC not annotated" in caplog.text
    assert "--labels LOC,PER leaves them out" in caplog.text
    caplog.clear()
    tag_corpora(FakeTagger("PER", "LOC", "MISC"), [corpus], labels, ["LOC", "PER"])
    assert caplog.text == ""


DOCUMENTS = ["Ann\tB-PER\nLee\tI-PER\n\nLee\tB-PER\n", "Oslo\tB-LOC\n"]


class FakeDocumentTagger(FakeTagger):
    """Finds in each sentence the number of sentences of its document, as a score."""

    def tag_documents(self, documents):
        return [[[ScoredSpan(Span(0, 1, "PER"), len(document) / 10)] for _ in document] for document in documents]


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ("-DOCSTART- O\n\n" + "\n-DOCSTART- -X- O\n\n".join(DOCUMENTS), None),
        ("\n-DOCSTART-\n".join(DOCUMENTS), None),
        ("\n".join(DOCUMENTS), "2\n1\n"),
    ],
)
def test_documents_are_tagged_as_the_file_or_the_one_beside_it_says(tmp_path, text, beside):
    path = tmp_path / "news.conll"
    path.write_text(text)
    if beside:
        path.with_suffix(".documents").write_text(beside)

    (corpus,) = tag_corpora(FakeDocumentTagger("PER", "LOC"), [path], has_documents=True)

    assert [row.found[0].score for row in corpus.sentences] == [0.2, 0.2, 0.1]


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (None, "expected documents, got neither -DOCSTART- lines nor"),
        ("2\n2\n", "expected numbers that add up to the 3 sentences of .*, got 4"),
        ("2\none\n", ":2: expected the number of sentences of a document, got 'one'"),
        ("0\n3\n", ":1: expected the number of sentences of a document, got '0'"),
    ],
)
def test_documents_that_are_unknown_or_do_not_add_up_are_refused(tmp_path, beside, message):
    path = tmp_path / "news.conll"
    path.write_text("\n".join(DOCUMENTS))
    if beside:
        path.with_suffix(".documents").write_text(beside)

    with pytest.raises(CorpusError, match=message):
        tag_corpora(FakeDocumentTagger("PER", "LOC"), [path], has_documents=True)


def test_steps_of_documents_hold_whole_ones(monkeypatch):
    monkeypatch.setattr(evaluation_module, "_STEP", 4)
    sentences = [Sentence(("Ann",), ())] * 12

    found = tag_sentences(FakeDocumentTagger(), sentences, sizes=[3, 2, 1, 5, 1])

    assert [row[0].score for row in found] == [0.3] * 3 + [0.2] * 2 + [0.1] + [0.5] * 5 + [0.1]
