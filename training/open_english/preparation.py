"""``nerserve open-corpora``: reads the corpora, mends them, makes text of names, and writes the files to train on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from handler.labels import Span
from training.corpora import LabelMap, Sentence, read_conll, write_conll
from training.open_english import sources
from training.open_english.adjectives import tag_untagged
from training.open_english.gum import clean, join_hyphens
from training.open_english.mends import Tally, adjectives_to_misc, corrections, nationalities, without_adjectives
from training.examples import OR
from training.open_english.repeated import Counts, RepeatedNames, count_labels
from training.open_english.sources import GUM, LABELS, SOCIAL, TEST_ONLY

#: Label of times in the Groningen Meaning Bank until its names are mended: no entity, but not untagged either.
_TIME = "TIME"


@dataclass
class Prepared:
    """What :func:`prepare` wrote.

    Attributes:
        sentences: The number of sentences in each file, by its name without ``.conll``.
        mends: How many entities were mended, by corpus and what was done.
        missing: Optional folders that are not there.
    """

    sentences: dict[str, int] = field(default_factory=dict)
    mends: Tally = field(default_factory=Tally)
    missing: list[str] = field(default_factory=list)


def prepare(data: Path, out: Path, seed: int = 1) -> Prepared:
    """Write ``train-NAME.conll``, ``dev-NAME.conll`` and ``test-NAME.conll`` to *out*."""
    sources.check_folder(data)
    prepared = Prepared()
    tally = prepared.mends
    train, held_out = _read(data, tally)
    gold = count_labels(s for name, rows in train.items() if name != "train-gmb_kaggle" for s in rows)
    _mend_gmb(train, held_out, gold, tally)
    if (data / GUM).is_dir():
        known = count_labels(sentence for rows in train.values() for sentence in rows)
        _read_gum(data, known, train, held_out, tally)
    else:
        prepared.missing.append(GUM)
    for part in ("train", "dev", "test"):
        sentences = read_conll(data / SOCIAL / f"{part}.conll")
        (train if part == "train" else held_out)[f"{part}-{SOCIAL}-native"] = sentences
    out.mkdir(parents=True, exist_ok=True)
    for part, sentences in {**_unseen(train, held_out), **held_out}.items():
        if sentences:
            write_conll(out / f"{part}.conll", sentences)
            prepared.sentences[part] = len(sentences)
    return prepared


def _read(data: Path, tally: Tally) -> tuple[dict[str, list[Sentence]], dict[str, list[Sentence]]]:
    """Training and held-out files with mapped labels; those of the Groningen Meaning Bank still have their times."""
    correct = corrections(*nationalities(read_conll(data / "gmb_kaggle" / "train.conll")))
    train: dict[str, list[Sentence]] = {}
    held_out: dict[str, list[Sentence]] = {}
    for name, native in LABELS.items():
        labels = {**native, "tim": _TIME} if name == "gmb_kaggle" else native
        for part in ("train", "dev", "test"):
            path = data / name / f"{part}.conll"
            if (part != "test" and name in TEST_ONLY) or (part == "dev" and not path.exists()):
                continue
            rows = read_conll(path)
            num_held_out = {"train": 0, "dev": sources.DEV_SENTENCES.get(name, len(rows))}.get(part, len(rows))
            corpus = "crossner" if name.startswith("crossner_") else name
            for i, row in enumerate(rows):
                corrected = row
                if name in correct:
                    corrected = tally.compare(corpus, "titles, nationalities, handles", row, correct[name](row))
                mapped = _map(corrected, labels)
                if i < num_held_out:
                    held_out.setdefault(f"{part}-{name}", []).append(_scored(mapped, name))
                else:
                    train.setdefault(f"train-{corpus}", []).append(_trained(mapped, corpus, tally))
    return train, held_out


def _trained(sentence: Sentence, corpus: str, tally: Tally) -> Sentence:
    """*sentence* of training text with its nationalities, religions and the like as MISC, whether they were tagged or not."""
    renamed = tally.compare(corpus, "nationality, religion or follower becomes MISC", sentence, adjectives_to_misc(sentence))
    return tally.compare(corpus, "untagged nationality, religion or follower becomes MISC", renamed, tag_untagged(renamed))


def _scored(sentence: Sentence, corpus: str) -> Sentence:
    """*sentence* of a dev or test file, with the mends that scores need; all others stay as they are."""
    if corpus == "docred":  # parties' followers and religions are ORG
        return adjectives_to_misc(sentence)
    if corpus == "btc":  # nationalities are LOC in a third of the cases; MISC is not annotated
        return without_adjectives(sentence)
    return sentence


def _mend_gmb(
    train: dict[str, list[Sentence]], held_out: dict[str, list[Sentence]], gold: Counts, tally: Tally
) -> None:
    """Mend the names of the Groningen Meaning Bank in place; the mended held-out files stand beside those as they were."""
    rows = train["train-gmb_kaggle"]
    repeated = RepeatedNames(rows, gold, beside=frozenset({_TIME}))
    for i, row in enumerate(rows):
        mended = tally.compare("gmb_kaggle", "repeated name gets its usual label or an open one", row, repeated.mended(row))
        rows[i] = _without_times(mended)
    for part in ("dev", "test"):
        if before := held_out.get(f"{part}-gmb_kaggle"):
            mended_rows = [repeated.mended(tag_untagged(adjectives_to_misc(row)), only_certain=True) for row in before]
            held_out[f"{part}-gmb_mended"] = [_without_times(row) for row in mended_rows]
            held_out[f"{part}-gmb_kaggle"] = [_without_times(row) for row in before]


def _without_times(sentence: Sentence) -> Sentence:
    return sentence._replace(spans=tuple(span for span in sentence.spans if span.label != _TIME))


def _read_gum(
    data: Path,
    known: Counts,
    train: dict[str, list[Sentence]],
    held_out: dict[str, list[Sentence]],
    tally: Tally,
) -> None:
    """Add GUM, cleaned: biographies and news of some documents are dev, what else is not test is training text."""
    for part in ("train", "dev", "test"):
        for number, document in enumerate(sources.read_documents(data, GUM, part)):
            rows = []
            for row in document:
                joined = join_hyphens(row)
                rows.append(tally.compare(GUM, "cleaned", joined, clean(joined, known)))
            if part == "test":
                held_out.setdefault("test-gum", []).extend(map(_only_certain, rows))
            elif number in sources.GUM_EDITED_DEV[part]:
                held_out.setdefault("dev-gum", []).extend(map(_only_certain, rows))
            else:
                train.setdefault("train-gum", []).extend(rows)


def _only_certain(sentence: Sentence) -> Sentence:
    """*sentence* with the first label of an open entity, to score against."""
    return sentence._replace(
        spans=tuple(span._replace(label=span.label.split(OR)[0]) for span in sentence.spans)
    )


def _unseen(train: dict[str, list[Sentence]], held_out: dict[str, list[Sentence]]) -> dict[str, list[Sentence]]:
    """*train* without the sentences of five words or more that are in *held_out* too."""
    scored = {sentence.words for rows in held_out.values() for sentence in rows if len(sentence.words) > 4}
    return {part: [row for row in rows if row.words not in scored] for part, rows in train.items()}


def _map(sentence: Sentence, labels: LabelMap) -> Sentence:
    """*sentence* with mapped labels, and places without the "the" that some corpora include ("the United States")."""
    spans = []
    for start, end, native in sentence.spans:
        label = labels[native]
        has_article = label == "LOC" and end - start > 1 and sentence.words[start] == "the"
        if label != "O":
            spans.append(Span(start + has_article, end, label))
    return Sentence(sentence.words, tuple(spans))
