"""A stranger's corpus, in German and with labels of its own, goes from files to a served model.

The commands are those of docs/training.md as they stand there, run in a folder
that holds nothing but the three files and a config.properties with free ports.
"""

import itertools
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.e2e.instance import KeyFile, write_config

GUIDE = Path("docs/training.md").read_text("utf-8")
NERSERVE = Path(sys.executable).with_name("nerserve")
COMMAND_TIMEOUT_S = 240

# Every name is made up of a stem and an ending.  Stems of the training names and of the others are different ones, so
# that a model which learns names by heart finds nothing.
ONSETS = "B Br D Dr F Fr G Gl Gr H J K Kl Kr L M N P R S Sch Schl St T Tr V W Z".split()
NUCLEI = "a e i o u ä ö ü au ei eu äu".split()
CODAS = "ck ff hl lf ll lm ln nd nn nz rn rz ß ßl tt tz".split()
FIRST_NAME_ENDINGS = "a e ine o ert bert linde".split()
SURNAME_ENDINGS = "mann müller huber bäcker schütz meyer inger".split()
PLACE_ENDINGS = "heim burg brück stätten ingen bach dorf".split()
COMPANY_ENDINGS = ["werke GmbH", "bau AG", "bräu KG", "tech GmbH", " & Söhne KG", "-Verlag", "bank AG"]
NOUNS = (  # with a capital too, and all feminine, so that one article fits
    "Straße Übung Maßnahme Prüfung Größe Lösung Brücke Behörde Tür Reise Küche Fläche Börse Höhe Mühle Bühne Schließung"
).split()
DAYS = "Montag Dienstag Mittwoch Donnerstag Freitag Samstag".split()
TEMPLATES = """\
{PERSON} wohnt seit {DAY} in {ORT} .
{PERSON} und {PERSON} trafen sich am {DAY} in {ORT} .
Am {DAY} eröffnete {FIRMA} ein Büro in {ORT} .
Die Sprecherin von {FIRMA} , {PERSON} , lobte die {NOUN} .
{FIRMA} baut in {ORT} eine neue {NOUN} .
Die {NOUN} und die {NOUN} waren am {DAY} das Thema .
In {ORT} begann am {DAY} die {NOUN} .
„ Die {NOUN} ist fertig “ , sagte {PERSON} .
{PERSON} arbeitet bei {FIRMA} .
Wegen der {NOUN} blieb {PERSON} am {DAY} zu Hause .
Von {ORT} nach {ORT} führt keine {NOUN} mehr .
{FIRMA} entließ am {DAY} den Leiter , {PERSON} .
Niemand sprach am {DAY} über {NOUN} und {NOUN} .
{PERSON} kaufte die {NOUN} von {FIRMA} .
Die {NOUN} in {ORT} gehört {FIRMA} .
Gestern besuchte {PERSON} die {NOUN} .
Warum fehlt die {NOUN} in {ORT} ?
""".splitlines()
#: No sentence of the training file is made like these.
UNSEEN_TEMPLATES = """\
{PERSON} zog am {DAY} von {ORT} nach {ORT} .
Gestern lobte {FIRMA} die {NOUN} in {ORT} .
Der Leiter von {FIRMA} , {PERSON} , wohnt in {ORT} .
Die {NOUN} war am {DAY} fertig , sagte {PERSON} .
""".splitlines()


class Text(NamedTuple):
    """A text and the (start, end, label) of its entities, in code points."""

    text: str
    entities: list[tuple[int, int, str]]


class Names:
    """Made-up names, the parts of which are *stems* and the endings above."""

    def __init__(self, stems, chance):
        self._stems, self._chance = stems, chance

    def _stem(self):
        return self._chance.choice(self._stems)

    def new(self, label):
        choice = self._chance.choice
        if label == "PERSON":
            return f"{self._stem()}{choice(FIRST_NAME_ENDINGS)} {self._stem()}{choice(SURNAME_ENDINGS)}"
        if label == "ORT":
            return f"{choice(['', '', 'Bad '])}{self._stem()}{choice(PLACE_ENDINGS)}"
        return f"{self._stem()}{choice(COMPANY_ENDINGS)}"


def generated(templates, num_texts, names, chance):
    """*num_texts* sentences, each after one of the *templates*."""
    texts = []
    for template in itertools.islice(itertools.cycle(templates), num_texts):
        text, entities = "", []
        for word in template.split():
            slot = re.fullmatch(r"\{(\w+)\}", word)
            filler = {"DAY": DAYS, "NOUN": NOUNS}.get(slot[1]) if slot else [word]
            value = chance.choice(filler) if filler else names.new(slot[1])
            text += "" if not text or word in ".,?“" or text.endswith("„") else " "
            if not filler:
                entities.append((len(text), len(text) + len(value), slot[1]))
            text += value
        texts.append(Text(text, entities))
    return texts


def words(text):
    """Matches of the words of *text* and its punctuation marks."""
    return re.finditer(r"\w+(?:-\w+)*|[^\w\s]", text)


def conll(texts):
    """*Texts* as columns of words and BIO tags."""
    lines = []
    for text, entities in texts:
        for word in words(text):
            inside = [(start, label) for start, end, label in entities if start <= word.start() < end]
            tag = f"{'B' if word.start() == inside[0][0] else 'I'}-{inside[0][1]}" if inside else "O"
            lines.append(f"{word[0]}\t{tag}\n")
        lines.append("\n")
    return "".join(lines)


def jsonl(texts):
    """*Texts* as JSON lines with character spans."""
    return "".join(f"{json.dumps(text._asdict(), ensure_ascii=False)}\n" for text in texts)


def write_vectors(path, texts):
    """A fastText model of the words of *texts*, as Facebook's own program would save it."""
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    sentences = [[word[0] for word in words(text.text)] for text in texts]
    model = FastText(sentences, vector_size=24, min_count=1, bucket=4000, epochs=8, workers=1, seed=1)
    save_facebook_model(model, str(path))


class Corpus(NamedTuple):
    """Sentences; those of *test* are in no file, and no stem of their names is."""

    train: list[Text]
    dev: list[Text]
    test: list[Text]


def make_corpus(folder):
    """A corpus, and its files train.conll, dev.jsonl and model.bin in *folder*; the same each time."""
    chance = random.Random(0)
    stems = ["".join(parts) for parts in itertools.product(ONSETS, NUCLEI, CODAS)]
    chance.shuffle(stems)
    third = len(stems) // 3
    of_train, of_dev, of_test = (Names(stems[n * third : (n + 1) * third], chance) for n in range(3))
    train = generated(TEMPLATES, 408, of_train, chance)
    dev = generated([*TEMPLATES, *UNSEEN_TEMPLATES], 84, of_dev, chance)
    test = generated([*TEMPLATES, *UNSEEN_TEMPLATES], 84, of_test, chance)
    (folder / "train.conll").write_text(conll(train), "utf-8")
    (folder / "dev.jsonl").write_text(jsonl(dev), "utf-8")
    write_vectors(folder / "model.bin", train)
    return Corpus(train, dev, test)


def documented_commands():
    """The commands under the guide's first headline, as lists of words."""
    section = re.search(r"^## From files to a served model\n(.*?)^## ", GUIDE, re.MULTILINE | re.DOTALL)[1]
    lines = re.findall(r"^ {4}(.*)$", section, re.MULTILINE)
    return [shlex.split(line) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


class Server(NamedTuple):
    """A corpus, and where the model that it became answers: on TorchServe's own port, and through the site."""

    corpus: Corpus
    inference: str
    site: str
    key: KeyFile


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The guide's commands, one after the other, on the generated files; the last one's server, until the tests end."""
    folder = tmp_path_factory.mktemp("stranger")
    corpus = make_corpus(folder)
    site = write_config(folder).site
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("NERSERVE_", "COVERAGE_"))}
    environment |= {"OMP_NUM_THREADS": "1"}  # more gain nothing here, and change how sums are rounded
    *before, up = [[str(NERSERVE), *arguments] for _, *arguments in documented_commands()]
    for command in before:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen([*up, "--port", str(site)], cwd=folder, env=environment, stdout=sink, stderr=sink)
    try:
        while "Press Ctrl-C to stop" not in output.read_text("utf-8"):
            assert process.poll() is None, f"nerserve up ended:\n{output.read_text('utf-8')}"
            time.sleep(0.1)
        (inference,) = re.findall(r"^  Inference   (\S+)$", output.read_text("utf-8"), re.MULTILINE)
        key = KeyFile(folder / ".nerserve" / "keys" / "inference.key")
        yield Server(corpus, inference, f"http://127.0.0.1:{site}/api/predict", key)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=180)
    assert status == 0, f"nerserve up ended with {status}:\n{output.read_text('utf-8')}"


@pytest.fixture(params=["inference", "site"])
def ask(request, server):
    """Gives the replies to texts, either way in for programs."""

    def reply(texts):
        response = requests.post(getattr(server, request.param), json={"texts": texts}, auth=server.key, timeout=60)
        assert response.status_code == 200, response.text
        return [result["entities"] for result in response.json()["results"]]

    return reply


def spans(entities):
    return [(entity["start"], entity["end"], entity["label"]) for entity in entities]


def surfaces(texts):
    """The entities of *texts* as they are written."""
    return {text[start:end] for text, entities in texts for start, end, _ in entities}


def test_the_guide_needs_three_commands():
    commands = [command[:2] for command in documented_commands()]

    assert commands == [["nerserve", "train"], ["nerserve", "archive"], ["nerserve", "up"]]


@pytest.mark.parametrize("label", ["FIRMA", "ORT", "PERSON"])
def test_names_that_no_file_holds_are_found(server, ask, label):
    test = server.corpus.test

    found = [spans(entities) for entities in ask([text.text for text in test])]

    gold_of, found_of = (
        {(i, *span) for i, row in enumerate(rows) for span in row if span[2] == label}
        for rows in ([text.entities for text in test], found)
    )
    assert not surfaces(test) & surfaces([*server.corpus.train, *server.corpus.dev])
    assert len(gold_of) >= 30
    assert 2 * len(gold_of & found_of) / (len(gold_of) + len(found_of)) > 0.8  # F1; 0.9 or more with any seed


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_offsets_are_exact_in_a_long_text(server, ask, form):
    sentences = [unicodedata.normalize(form, text.text) for text in server.corpus.test]
    text = "🏭 " + " ".join(sentences)

    alone, (together,) = ask(sentences), ask([text])

    shifts = itertools.accumulate((len(sentence) + 1 for sentence in sentences), initial=2)
    moved = [
        (start + shift, end + shift, label)
        for entities, shift in zip(alone, shifts, strict=False)
        for start, end, label in spans(entities)
    ]
    assert len(together) > 100
    assert [entity["text"] for entity in together] == [text[entity["start"] : entity["end"]] for entity in together]
    assert spans(together) == moved


def test_both_ways_in_give_the_same_bytes(server):
    texts = [text.text for text in server.corpus.test]

    replies = [
        requests.post(url, json={"texts": texts}, auth=server.key, timeout=60).json()
        for url in (server.inference, server.site)
    ]

    assert replies[0] == replies[1]
    assert replies[0]["model"]["name"] == "news"
