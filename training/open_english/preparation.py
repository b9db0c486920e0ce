"""Reads the corpora, mends them, makes text of names, and writes the files to train on, to choose by and to score."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path

from tqdm import tqdm

from handler.labels import Span
from training.corpora import LabelMap, Sentence, read_conll, write_conll
from training.examples import OR
from training.open_english import sources
from training.open_english.adjectives import tag_untagged
from training.open_english.gum import clean, join_hyphens
from training.open_english.lines import make_lines
from training.open_english.mends import Tally, adjectives_to_misc, corrections, nationalities, without_adjectives
from training.open_english.names import PARTS, Names, Part, read_list
from training.open_english.repeated import RepeatedNames, clear_label, count_labels
from training.open_english.replacement import replaced
from training.open_english.sources import GUM, LABELS, SOCIAL, TEST_ONLY
from training.open_english.words import COUNTRIES

#: Label of times in the Groningen Meaning Bank until its names are mended: no entity, but not untagged either.
_TIME = "TIME"

#: Gold corpora of edited and web text, in which organisations are replaced; tweets are not (decision 30).
_GOLD = ("docred", "uner_ewt", "crossner")

#: Lines made of templates for each part.
_NUM_LINES: dict[Part, int] = {"train": 4000, "dev": 520, "test": 520}


@dataclass
class Prepared:
    """What :func:`prepare` wrote.

    Attributes:
        sentences: The number of sentences in each file, by its name without ``.conll``.
        mends: How many entities were mended, by corpus and what was done.
        missing: Optional folders and files of names that are not there.
    """

    sentences: dict[str, int] = field(default_factory=dict)
    mends: Tally = field(default_factory=Tally)
    missing: list[str] = field(default_factory=list)


@dataclass
class _Text:
    """The sentences of each file to be, by its name, and the lengths in sentences of the held-out documents."""

    train: dict[str, list[Sentence]] = field(default_factory=dict)
    held_out: dict[str, list[Sentence]] = field(default_factory=dict)
    documents: dict[str, list[int]] = field(default_factory=dict)


def prepare(data: Path, out: Path, seed: int = 1) -> Prepared:
    """Write ``train-NAME.conll``, ``dev-NAME.conll`` and ``test-NAME.conll`` to *out*.

    Where documents are known, ``NAME.documents`` beside a held-out file has the number of sentences of each.
    The five domains of CrossNER become one training file; ``wnut17-native`` has the six labels of WNUT-17; the
    held-out parts of the Groningen Meaning Bank are written as they were, ``gmb_kaggle``, and mended, ``gmb_mended``.
    Training sentences that are also in a dev or test file are dropped before any text is made of them.  The same
    *seed* makes the same files.

    Raises:
        CorpusError: a file is missing or cannot be read.
    """
    sources.check_folder(data)
    prepared, text = Prepared(), _Text()
    _read(data, text, prepared.mends)
    _mend_gmb(text, prepared.mends)
    if (data / GUM).is_dir():
        _read_gum(data, text, prepared.mends)
    else:
        prepared.missing.append(GUM)
    for part in PARTS:
        sentences = read_conll(data / SOCIAL / f"{part}.conll")
        (text.train if part == "train" else text.held_out)[f"{part}-{SOCIAL}-native"] = sentences
    lists = {}
    for name in ("clubs", "universities"):
        path = data / "lists" / f"{name}.txt"
        if path.exists():
            lists[name] = read_list(path)
        else:
            prepared.missing.append(f"lists/{path.name}")
    _make_text(text, seed, lists)
    out.mkdir(parents=True, exist_ok=True)
    for name, sentences in {**text.train, **text.held_out}.items():
        if sentences:
            write_conll(out / f"{name}.conll", sentences)
            prepared.sentences[name] = len(sentences)
    for name, lengths in text.documents.items():
        (out / f"{name}.documents").write_text("".join(f"{length}\n" for length in lengths), encoding="ascii")
    return prepared


def _read(data: Path, text: _Text, tally: Tally) -> None:
    """Add the corpora with mapped labels; the Groningen Meaning Bank still has its times."""
    correct = corrections(*nationalities(read_conll(data / "gmb_kaggle" / "train.conll")))
    files = [(name, part) for name in LABELS for part in PARTS if part == "test" or name not in TEST_ONLY]
    for name, part in tqdm(files, desc="reading", unit="file", disable=None, leave=False):
        path = data / name / f"{part}.conll"
        if part == "dev" and not path.exists():
            continue
        corpus = "crossner" if name.startswith("crossner_") else name
        labels = {**LABELS[name], "tim": _TIME} if name == "gmb_kaggle" else LABELS[name]
        rows = read_conll(path)
        documents = sources.document_lengths(data, name, part, len(rows))
        if part == "train":
            num_held_out = 0
        elif part == "dev" and name in sources.DEV_SENTENCES:
            num_held_out = _whole(documents or [1] * len(rows), sources.DEV_SENTENCES[name])
        else:
            num_held_out = len(rows)
        for i, row in enumerate(rows):
            corrected = row
            if name in correct:
                corrected = tally.compare(corpus, "titles, nationalities, handles", row, correct[name](row))
            mapped = _map(corrected, labels)
            if i < num_held_out:
                text.held_out.setdefault(f"{part}-{name}", []).append(_scored(mapped, name))
            else:
                text.train.setdefault(f"train-{corpus}", []).append(_trained(mapped, corpus, tally))
        if documents and num_held_out:
            ends = list(accumulate(documents))
            text.documents[f"{part}-{name}"] = documents[: ends.index(num_held_out) + 1]


def _whole(documents: Sequence[int], least: int) -> int:
    """The sentences in the first of *documents* that have *least* together, or in all if they have fewer.

    >>> _whole([3, 4, 5], 6), _whole([3], 0), _whole([3], 9)
    (7, 0, 3)
    """
    return next((total for total in accumulate(documents, initial=0) if total >= least), sum(documents))


def _map(sentence: Sentence, labels: LabelMap) -> Sentence:
    """*sentence* with mapped labels, and places without the "the" that some corpora include ("the United States")."""
    spans = []
    for start, end, native in sentence.spans:
        label = labels[native]
        has_article = label == "LOC" and end - start > 1 and sentence.words[start] == "the"
        if label != "O":
            spans.append(Span(start + has_article, end, label))
    return Sentence(sentence.words, tuple(spans))


def _scored(sentence: Sentence, corpus: str) -> Sentence:
    """*sentence* of a dev or test file, with the mends that scores need; all others stay as they are."""
    if corpus == "docred":  # religions and followers are ORG
        return adjectives_to_misc(sentence)
    if corpus == "btc":  # nationalities are LOC in a third of the cases, and MISC is not annotated
        return without_adjectives(sentence)
    return sentence


def _trained(sentence: Sentence, corpus: str, tally: Tally) -> Sentence:
    """*sentence* of training text with its nationalities, religions and the like as MISC, tagged before or not."""
    what = "nationalities, religions and followers that become MISC"
    renamed = tally.compare(corpus, what, sentence, adjectives_to_misc(sentence))
    return tally.compare(corpus, f"{what}, untagged before", renamed, tag_untagged(renamed))


def _mend_gmb(text: _Text, tally: Tally) -> None:
    """Mend the names of the Groningen Meaning Bank; its held-out parts stand there mended and as they were."""
    rows = text.train["train-gmb_kaggle"]
    others = (rows for name, rows in text.train.items() if name != "train-gmb_kaggle")
    repeated = RepeatedNames(rows, count_labels(chain.from_iterable(others)), beside=frozenset({_TIME}))
    what = "repeated names that get their usual label, or an open one"
    text.train["train-gmb_kaggle"] = [
        _without_times(tally.compare("gmb_kaggle", what, row, repeated.mended(row))) for row in rows
    ]
    for part in ("dev", "test"):
        if before := text.held_out.get(f"{part}-gmb_kaggle"):
            mended = (repeated.mended(tag_untagged(adjectives_to_misc(row)), only_certain=True) for row in before)
            text.held_out[f"{part}-gmb_mended"] = [_without_times(row) for row in mended]
            text.held_out[f"{part}-gmb_kaggle"] = [_without_times(row) for row in before]


def _without_times(sentence: Sentence) -> Sentence:
    return sentence._replace(spans=tuple(span for span in sentence.spans if span.label != _TIME))


def _read_gum(data: Path, text: _Text, tally: Tally) -> None:
    """Add GUM, cleaned: some biographies and news are dev, what else is not test is training text."""
    known = count_labels(chain.from_iterable(text.train.values()))
    for part in PARTS:
        for number, document in enumerate(_documents(data, part)):
            joined = [join_hyphens(row) for row in document]
            rows = [tally.compare(GUM, "names cut by rule, cleaned", row, clean(row, known)) for row in joined]
            if part == "test" or number in sources.GUM_EDITED_DEV[part]:
                name = "test-gum" if part == "test" else "dev-gum"
                text.held_out.setdefault(name, []).extend(_first_labels(row) for row in rows)
                text.documents.setdefault(name, []).append(len(rows))
            else:
                text.train.setdefault("train-gum", []).extend(rows)


def _documents(data: Path, part: str) -> Iterator[list[Sentence]]:
    """The sentences of each document of a part of GUM."""
    rows = read_conll(data / GUM / f"{part}.conll")
    for length in sources.document_lengths(data, GUM, part, len(rows)) or [len(rows)]:
        yield rows[:length]
        del rows[:length]


def _first_labels(sentence: Sentence) -> Sentence:
    """*sentence* with the first label of each open entity, to score against."""
    return sentence._replace(spans=tuple(span._replace(label=span.label.split(OR)[0]) for span in sentence.spans))


def _make_text(text: _Text, seed: int, lists: dict[str, list[str]]) -> None:
    """Add lines of templates and names, and gold sentences with other organisations; drop training text that is scored.

    *lists* are the clubs and universities.
    """
    gold = [f"train-{corpus}" for corpus in _GOLD]
    counts = count_labels(chain.from_iterable(text.train[name] for name in gold))
    towns = sorted(name for name, labels in counts.items() if clear_label(labels, 2, 1) == "LOC" and _is_town(name))
    for part, number in _NUM_LINES.items():
        lines = make_lines(part, Names(part, towns, **lists), number, random.Random(f"{seed} {part} lines"))
        (text.train if part == "train" else text.held_out)[f"{part}-lines"] = list(lines)
    scored = {row.words for rows in text.held_out.values() for row in rows if len(row.words) > 4}
    for name, rows in text.train.items():
        text.train[name] = [row for row in rows if row.words not in scored]
    names = Names("train", towns, **lists)
    for name in gold:
        text.train[f"{name}-replaced"] = list(replaced(text.train[name], names, random.Random(f"{seed} {name}")))


def _is_town(name: str) -> bool:
    words = name.split(" ")
    return len(words) < 3 and name not in COUNTRIES and all(word[0].isupper() and word[1:].islower() for word in words)
