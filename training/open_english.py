"""The open English corpora of the shipped models: corrections of each, and the map of its labels.

The target is the CoNLL-2003 definition (Tjong Kim Sang and De Meulder): PER without titles, LOC, ORG, and MISC for
nationalities, works, events and the like.  The input is a folder with a sub-folder per corpus, each with
``train.conll`` and, if it has them, ``dev.conll`` and ``test.conll`` in native BIO labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from handler.labels import Span
from training.corpora import LabelMap, Sentence, read_conll, write_conll

_CROSSNER_ALL: LabelMap = {
    **dict.fromkeys("person politician scientist musicalartist writer researcher".split(), "PER"),
    **dict.fromkeys("organisation politicalparty university band".split(), "ORG"),
    **dict.fromkeys("country location".split(), "LOC"),
    **dict.fromkeys(
        """
        election event misc award academicjournal astronomicalobject album song book poem magazine conference product
        programlang
        """.split(),
        "MISC",
    ),
    **dict.fromkeys(
        """
        discipline enzyme protein chemicalcompound chemicalelement theory musicgenre musicalinstrument literarygenre
        field task algorithm metrics
        """.split(),
        "O",
    ),
}

#: Label map of each corpus of ``models/en``.
LABELS: dict[str, LabelMap] = {
    "gmb_kaggle": {
        "per": "PER", "org": "ORG", "geo": "LOC", "gpe": "MISC", "art": "MISC", "eve": "MISC", "nat": "MISC",
        "tim": "O",
    },
    "docred": {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "MISC": "MISC", "TIME": "O", "NUM": "O"},
    "uner_ewt": {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "OTH": "MISC"},
    "wnut17": {
        "person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG", "creative-work": "MISC",
        "product": "MISC",
    },
    "btc": {"PER": "PER", "ORG": "ORG", "LOC": "LOC"},
    **{f"crossner_{domain}": _CROSSNER_ALL for domain in ("politics", "science", "music", "literature", "ai")},
    "wikigold": {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "MISC": "MISC"},
}  # fmt: skip

#: Sentences of a dev file that are kept as dev; the rest is trained on, as most text of these corpora is in dev.
_DEV_SENTENCES = {**dict.fromkeys((name for name in LABELS if name.startswith("crossner_")), 0), "docred": 1000}

#: The corpus of ``models/en-social``, which uses its native labels.
SOCIAL = "wnut17"

#: Corpora that are only scored.
TEST_ONLY = frozenset({"wikigold"})

_TITLES = frozenset(
    """
    mr mrs ms miss dr prof professor president vice deputy prime minister premier chancellor secretary foreign defense
    defence interior finance secretary-general general gen lt lieutenant lieutenant-general maj major col colonel brig
    brigadier capt captain cmdr commander sgt sergeant adm admiral marshal king queen prince princess emperor sultan
    sheikh pope cardinal archbishop bishop rev reverend father sister sir lord lady dame baron senator sen
    representative rep congressman congresswoman governor gov mayor judge justice chief ambassador envoy spokesman
    spokeswoman director chairman chairwoman speaker attorney former ex-president then-president
    """.split()
)


def prepare(data: Path, out: Path) -> dict[str, int]:
    """Write ``train-NAME.conll``, ``dev-NAME.conll`` and ``test-NAME.conll`` to *out*; returns the sentences in each.

    The five domains of CrossNER become one training file; ``wnut17-native`` has the six labels of WNUT-17.  Training
    sentences that are also in a dev or test file are dropped.

    Raises:
        CorpusError: a file is missing or cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    demonyms, countries = _nationalities(read_conll(data / "gmb_kaggle" / "train.conll"))
    corrections = _corrections(demonyms, countries)
    train: dict[str, list[Sentence]] = {}
    held_out: dict[str, list[Sentence]] = {}
    for name, labels in LABELS.items():
        for part in ("train", "dev", "test"):
            path = data / name / f"{part}.conll"
            if (part != "test" and name in TEST_ONLY) or (part == "dev" and not path.exists()):
                continue
            correct = corrections.get(name)
            sentences = [_map(correct(row) if correct else row, labels) for row in read_conll(path)]
            num_held_out = {"train": 0, "dev": _DEV_SENTENCES.get(name, len(sentences))}.get(part, len(sentences))
            corpus = "crossner" if name.startswith("crossner_") else name
            train.setdefault(f"train-{corpus}", []).extend(sentences[num_held_out:])
            if num_held_out:
                held_out[f"{part}-{name}"] = sentences[:num_held_out]
    for part in ("train", "dev", "test"):
        sentences = read_conll(data / SOCIAL / f"{part}.conll")
        (train if part == "train" else held_out)[f"{part}-{SOCIAL}-native"] = sentences
    scored = {sentence.words for sentences in held_out.values() for sentence in sentences if len(sentence.words) > 4}
    unseen = {part: [s for s in sentences if s.words not in scored] for part, sentences in train.items()}
    parts = {**unseen, **held_out}
    written = {part: sentences for part, sentences in parts.items() if sentences}
    for part, sentences in written.items():
        write_conll(out / f"{part}.conll", sentences)
    return {part: len(sentences) for part, sentences in written.items()}


def _corrections(demonyms: frozenset[str], countries: frozenset[str]) -> dict[str, Callable[[Sentence], Sentence]]:
    """The correction of each corpus that needs one, applied before its labels are mapped."""

    def gmb(sentence: Sentence) -> Sentence:
        spans = []
        for span in sentence.spans:
            name = _name(sentence, span)
            if span.label == "per":
                start = _without_titles(sentence.words, span)
                if start < span.end:
                    spans.append(Span(start, span.end, "per"))
            elif span.label == "gpe" and name in countries:
                spans.append(span._replace(label="geo"))
            else:
                spans.append(span)
        return Sentence(sentence.words, tuple(spans))

    def docred(sentence: Sentence) -> Sentence:
        spans = (
            span._replace(label="MISC") if span.label == "LOC" and _name(sentence, span) in demonyms else span
            for span in sentence.spans
        )
        return Sentence(sentence.words, tuple(spans))

    return {"gmb_kaggle": gmb, "docred": docred, "btc": join_handles}


def _name(sentence: Sentence, span: Span) -> str:
    return " ".join(sentence.words[span.start : span.end]).lower()


def _nationalities(sentences: Iterable[Sentence]) -> tuple[frozenset[str], frozenset[str]]:
    """Lower-cased names that are more often ``gpe`` (nationality) than ``geo`` (place), and those that are not."""
    counts = {"gpe": Counter[str](), "geo": Counter[str]()}
    for sentence in sentences:
        for span in sentence.spans:
            if span.label in counts:
                counts[span.label][_name(sentence, span)] += 1
    nationality, place = counts["gpe"], counts["geo"]
    return (
        frozenset(name for name in nationality if nationality[name] > place[name]),
        frozenset(name for name in nationality if place[name] >= nationality[name]),
    )


def _without_titles(words: tuple[str, ...], span: Span) -> int:
    """The start of the name behind the titles of a person *span*; its end if there is no name."""
    start = span.start
    while start < span.end and words[start].lower().rstrip(".") in _TITLES:
        start += 1
    return start


def join_handles(sentence: Sentence) -> Sentence:
    """*sentence* with ``@`` and the following handle as one word, which is in no entity.

    >>> spans = (Span(1, 2, "PER"), Span(2, 3, "PER"), Span(3, 4, "PER"))
    >>> join_handles(Sentence(("hi", "@", "ann", "Lee"), spans))[:2]
    (('hi', '@ann', 'Lee'), (Span(start=2, end=3, label='PER'),))
    """
    words: list[str] = []
    new_index: list[int] = []
    handles: set[int] = set()
    after_at = False
    for i, word in enumerate(sentence.words):
        if after_at:
            words[-1] += word
            handles |= {i - 1, i}
        else:
            words.append(word)
        after_at = word == "@" and not after_at and i + 1 < len(sentence.words)
        new_index.append(len(words) - 1)
    spans = [
        Span(new_index[span.start], new_index[span.end - 1] + 1, span.label)
        for span in sentence.spans
        if handles.isdisjoint(range(span.start, span.end))
    ]
    return Sentence(tuple(words), tuple(spans))


def _map(sentence: Sentence, labels: LabelMap) -> Sentence:
    """*sentence* with mapped labels, and places without the "the" that some corpora include ("the United States")."""
    spans = []
    for start, end, native in sentence.spans:
        label = labels[native]
        has_article = label == "LOC" and end - start > 1 and sentence.words[start] == "the"
        if label != "O":
            spans.append(Span(start + has_article, end, label))
    return Sentence(sentence.words, tuple(spans))
