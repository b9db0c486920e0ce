"""Lines made of templates and names, with their entities, as the server's tokeniser splits them."""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator

from handler.labels import Span
from handler.text.sentences import split_sentences
from training.corpora import Sentence
from training.open_english.names import LABEL_OF, Names, Part
from training.open_english.templates import CASES, TEMPLATES

#: Times that a template is filled until the server finds all of its names.
_ATTEMPTS = 20

_SLOT = re.compile(r"\{(\w+)\}")
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

_FILLERS: dict[str, Callable[[random.Random], str]] = {
    "n": lambda chance: str(chance.randrange(10)),
    "small": lambda chance: str(chance.randrange(10, 60)),
    "big": lambda chance: str(chance.randrange(70, 130)),
    "points": lambda chance: str(chance.randrange(20, 99)),
    "number": lambda chance: chance.choice(("{}", "{:,}")).format(chance.randrange(100, 40_000)),
    "money": lambda chance: chance.choice(("${} million", "${}bn", "{}.25", "£{}m")).format(chance.randrange(2, 900)),
    "pct": lambda chance: chance.choice(("{} percent", "{}%", "{}.5 pct")).format(chance.randrange(1, 60)),
    "set": lambda chance: chance.choice(("6-4", "6-3", "7-5", "7-6 (7-4)", "3-6", "6-1", "4-6")),
    "clock": lambda chance: f"{chance.randrange(1, 60)}:{chance.randrange(60):02}.{chance.randrange(100):02}",
    "time": lambda chance: chance.choice(("{}:30", "{} p.m.", "{}pm", "{}.45")).format(chance.randrange(1, 12)),
    "phone": lambda chance: f"555-{chance.randrange(10_000):04}",
    "ticker": lambda chance: "".join(chance.choices("ABCDEFGHKLMNPRSTX", k=chance.choice((3, 4)))),
    "year": lambda chance: str(chance.randrange(1950, 2026)),
    "month": lambda chance: chance.choice(_MONTHS),
    "day": lambda chance: chance.choice(_DAYS),
    "date": lambda chance: f"{chance.randrange(1, 29)} {chance.choice(_MONTHS)[:3]} {chance.randrange(1990, 2026)}",
}
_IN_CASE: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    lambda text: re.sub(r"(?<!\S)\w", lambda first: first[0].upper(), text),
    str.lower,
)


def templates_of(part: Part) -> list[tuple[str, str]]:
    """The templates of *part*, each with what its lines are."""
    return [
        (kind, line.strip()) for kind, lines in TEMPLATES[part].items() for line in lines.splitlines() if line.strip()
    ]


def make_lines(part: Part, names: Names, number: int, chance: random.Random) -> Iterator[Sentence]:
    """Sentences of *number* lines, as the server splits them; each template is used as often as the others."""
    templates = templates_of(part)
    for i in range(number):
        kind, template = templates[i % len(templates)]
        for _ in range(_ATTEMPTS):  # some names cannot be told from what stands beside them
            if sentences := as_served(*fill(template, names, chance, _case(kind, chance))):
                yield from sentences
                break


def fill(
    template: str, names: Names, chance: random.Random, in_case: Callable[[str], str] = str
) -> tuple[str, list[tuple[int, int, str]]]:
    """The text of *template* with its slots filled, and its entities: code-point offsets and a label.

    A slot in capitals is filled in capitals.
    """
    text, entities, last = "", [], 0
    for slot in _SLOT.finditer(template):
        text += in_case(template[last : slot.start()])
        last = slot.end()
        kind = slot[1].lower()
        filling = in_case(_FILLERS[kind](chance) if kind in _FILLERS else names.draw(kind, chance))
        filling = filling.upper() if slot[1].isupper() else filling
        if kind in LABEL_OF:
            entities.append((len(text), len(text) + len(filling), LABEL_OF[kind]))
        text += filling
    return text + in_case(template[last:]), entities


def as_served(text: str, entities: list[tuple[int, int, str]]) -> list[Sentence] | None:
    """The sentences of *text* as the server splits it; None if an entity does not begin and end with words of one.

    >>> as_served("Leeds 2", [(0, 5, "ORG")])
    [Sentence(words=('Leeds', '2'), spans=(Span(start=0, end=1, label='ORG'),), joined=(), ended=())]
    """
    sentences, num_found = [], 0
    for tokens in split_sentences(text):
        spans = []
        for start, end, label in entities:
            first, last = bisect_left(tokens.starts, start), bisect_left(tokens.ends, end)
            if first <= last < len(tokens) and tokens.starts[first] == start and tokens.ends[last] == end:
                spans.append(Span(first, last + 1, label))
        num_found += len(spans)
        sentences.append(Sentence(tuple(tokens.words), tuple(spans)))
    return sentences if num_found == len(entities) else None


def _case(kind: str, chance: random.Random) -> Callable[[str], str]:
    return chance.choices(_IN_CASE, CASES.get(kind, (1, 0, 0, 0)))[0]
