"""The corpora: their folders, the maps of their labels, and which parts are trained on."""

from __future__ import annotations

from pathlib import Path

from training.corpora import LabelMap
from training.errors import CorpusError

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
DEV_SENTENCES = {**dict.fromkeys((name for name in LABELS if name.startswith("crossner_")), 0), "docred": 1000}

#: The corpus of ``models/en-social``, which uses its native labels.
SOCIAL = "wnut17"

#: Corpora that are only scored.
TEST_ONLY = frozenset({"wikigold"})

#: The corpus that a rule annotated, with PER, ORG, LOC and MISC; it may be missing.
GUM = "gum"

#: The biographies and news of which ``dev-gum`` is made, by their places in GUM's parts: all of its dev part, and every
#: third of its train part.
GUM_EDITED_DEV = {"dev": (2, 3, 7, 8, 9), "train": (14, 17, 20, 23, 26, 29, 54, 57, 60, 63, 66, 69, 72)}


def document_lengths(data: Path, corpus: str, part: str, num_sentences: int) -> list[int]:
    """The number of sentences of each document of a part, as ``PART.documents`` has them; empty without that file.

    Raises:
        CorpusError: the file cannot be read, or its numbers are not *num_sentences* together.
    """
    path = data / corpus / f"{part}.documents"
    try:
        lengths = [int(line) for line in path.read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: expected a number of sentences on each line, one for each document") from error
    if sum(lengths) != num_sentences or 0 in lengths:
        raise CorpusError(f"{path}: expected {num_sentences} sentences, as {part}.conll has, got {sum(lengths)}")
    return lengths


def check_folder(data: Path) -> None:
    """Raise CorpusError that names the first file missing in *data*, and says where all come from."""
    for name in LABELS:
        for part in ("test",) if name in TEST_ONLY else ("train", "test"):
            if not (path := data / name / f"{part}.conll").is_file():
                raise CorpusError(
                    f'{path}: expected a file of CoNLL columns, there is none; training/en.md says under "Where the'
                    f' files come from" which files belong into {data} and where to get them'
                )
