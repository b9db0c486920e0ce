"""Names of every kind to make text of, parted into those to train on and those held out for dev and test.

Surnames and first names are the US Census's (public domain), clubs and universities come from lists, and firms, bands,
schools and societies are made up of these, of places and of syllables.  A name belongs to one part by its checksum.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from training.corpora.sources import decode, read_data
from training.open_english import words

Part = Literal["train", "dev", "test"]

PARTS: tuple[Part, ...] = get_args(Part)

#: Shares of the names held out for dev and for test, in percent.
_HELD_OUT = 10

#: Label of each kind of name.
LABEL_OF = {
    "person": "PER", "surname": "PER", "first": "PER", "initialled": "PER",
    "club": "ORG", "university": "ORG", "firm": "ORG", "band": "ORG", "school": "ORG", "society": "ORG", "shop": "ORG",
    "hyphened": "ORG", "paper": "ORG", "team": "ORG",
    "country": "LOC", "town": "LOC",
    "nation": "MISC", "event": "MISC",
}  # fmt: skip

_USABLE = re.compile(r"[^\W\d_][\w.&'’ -]{1,60}\w")


def part_of(name: str) -> Part:
    """The part that *name* belongs to, the same in every run."""
    place = zlib.crc32(name.lower().encode()) % 100
    return "dev" if place < _HELD_OUT else "test" if place < 2 * _HELD_OUT else "train"


class Names:
    """Draws names of one *part*.

    *clubs* and *universities* are lists of names; without one, its names are made up.  *towns* serve every part;
    without any, countries stand for them.
    """

    def __init__(
        self, part: Part, towns: Sequence[str], clubs: Iterable[str] = (), universities: Iterable[str] = ()
    ) -> None:
        self._part = part
        self._towns = list(towns) or words.COUNTRIES
        self._clubs = self._own(clubs)
        self._universities = self._own(universities)
        first, last = census()
        self._first, self._last = self._own(first), self._own(last)
        self._makers: dict[str, Callable[[random.Random], str]] = {
            "person": self._person,
            "surname": self._surname,
            "first": self._first_name,
            "initialled": lambda chance: f"{chance.choice(self._first)[0]}. {self._surname(chance)}",
            "club": self._club,
            "university": self._university,
            "firm": self._firm,
            "shop": lambda chance: f"{self._surname(chance)}'s",
            "hyphened": lambda chance: f"{self._coined(chance)}-{self._surname(chance)}",
            "band": self._band,
            "school": self._school,
            "society": self._society,
            "paper": lambda chance: f"{self._town(chance)} {chance.choice(words.PAPERS)}",
            "team": lambda chance: f"{self._town(chance)} {chance.choice(words.MASCOTS)}",
            "country": lambda chance: chance.choice(words.COUNTRIES),
            "town": self._town,
            "nation": lambda chance: chance.choice(words.NATIONS),
            "event": self._event,
        }

    def draw(self, kind: str, chance: random.Random) -> str:
        """A name of *kind*, one of :data:`LABEL_OF`."""
        return self._makers[kind](chance)

    def _own(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if part_of(name) == self._part]

    def _surname(self, chance: random.Random) -> str:
        return _by_rank(self._last, chance)

    def _first_name(self, chance: random.Random) -> str:
        return _by_rank(self._first, chance)

    def _person(self, chance: random.Random) -> str:
        middle = f" {chance.choice(self._first)[0]}." if chance.random() < 0.12 else ""
        last = self._surname(chance)
        if chance.random() < 0.06:
            last = f"{last}-{self._surname(chance)}"
        return f"{self._first_name(chance)}{middle} {last}"

    def _town(self, chance: random.Random) -> str:
        return chance.choice(self._towns)

    def _coined(self, chance: random.Random) -> str:
        while True:
            middle = chance.choice(words.MIDDLES) if chance.random() < 0.7 else ""
            word = chance.choice(words.STARTS) + middle + chance.choice(words.ENDS)
            if part_of(word) == self._part:
                return word

    def _acronym(self, chance: random.Random) -> str:
        while True:
            word = "".join(chance.choices("ABCDEFGHIKLMNPRSTUVW", k=chance.choice((3, 3, 3, 4))))
            if part_of(word) == self._part:
                return word

    def _firm(self, chance: random.Random) -> str:
        root = chance.choice((self._coined, self._coined, self._surname))(chance)
        forms = [
            lambda: root,
            lambda: root,
            lambda: f"{root} {chance.choice(words.TRADES)}",
            lambda: f"{root} {chance.choice(words.TRADES)}",
            lambda: f"{root} {chance.choice(words.FORMS)}",
            lambda: f"{root} {chance.choice(words.TRADES)} {chance.choice(words.FORMS)}",
            lambda: f"{self._surname(chance)} & {self._surname(chance)}",
            lambda: f"{self._surname(chance)} and Sons",
            lambda: f"{self._surname(chance)} Brothers",
            lambda: f"{self._surname(chance)}-{self._surname(chance)}",
            lambda: f"{self._town(chance)} {chance.choice(words.TRADES)}",
            lambda: self._acronym(chance),
        ]
        return chance.choice(forms)()

    def _band(self, chance: random.Random) -> str:
        thing, quality = chance.choice(words.THINGS), chance.choice(words.ADJECTIVES)
        forms = [
            f"{quality} {thing}s",
            f"The {thing}s",
            f"The {quality} {thing}s",
            f"{quality} {thing}",
            f"{thing} {chance.choice(words.THINGS)}",
            f"{self._first_name(chance)} and the {thing}s",
            f"The {self._surname(chance)} Band",
            f"{self._surname(chance)} Quartet",
            self._coined(chance),
        ]
        return self._kept(forms, chance)

    def _school(self, chance: random.Random) -> str:
        place = chance.choice((self._town, self._surname))(chance)
        if chance.random() < 0.2:
            return f"St. {self._first_name(chance)}'s {chance.choice(('School', 'College', 'Academy'))}"
        return f"{place} {chance.choice(words.SCHOOLS)}"

    def _society(self, chance: random.Random) -> str:
        cause, body, town = chance.choice(words.CAUSES), chance.choice(words.BODIES), self._town(chance)
        forms = [
            f"{town} {cause} {body}",
            f"{town} City {body}",
            f"{cause} {body} of {town}",
            f"National {cause} {body}",
            f"Royal {cause} {body}",
            f"{chance.choice(words.NATIONS)} {cause} {body}",
        ]
        return self._kept(forms, chance)

    def _event(self, chance: random.Random) -> str:
        return f"{chance.choice((self._town(chance), chance.choice(words.NATIONS)))} {chance.choice(words.EVENTS)}"

    def _club(self, chance: random.Random) -> str:
        if self._clubs and chance.random() < 0.8:
            return chance.choice(self._clubs)
        return f"{self._town(chance)} {chance.choice(words.CLUBS)}"

    def _university(self, chance: random.Random) -> str:
        if self._universities and chance.random() < 0.8:
            return chance.choice(self._universities)
        forms = ("University of {}", "{} University", "{} State University", "{} College", "{} Institute of Technology")
        return chance.choice(forms).format(self._town(chance))

    def _kept(self, forms: Sequence[str], chance: random.Random) -> str:
        """One of *forms* that belongs to this part; if none does, any, since their words are few."""
        return chance.choice([form for form in forms if part_of(form) == self._part] or list(forms))


def _by_rank(names: Sequence[str], chance: random.Random) -> str:
    """One of *names*, which are sorted by frequency: frequent ones more often, and all of them."""
    return names[int(len(names) * chance.random() ** 3)]


@cache
def census() -> tuple[list[str], list[str]]:
    """First names and surnames of the US Census of 1990, the most frequent first."""
    import names

    def read(key: str) -> list[str]:
        with Path(names.FILES[key]).open(encoding="ascii") as lines:
            return [line.split()[0].capitalize() for line in lines]

    women, men = read("first:female"), read("first:male")
    first = [name for pair in zip(women, men, strict=False) for name in pair]
    return list(dict.fromkeys([*first, *women, *men])), read("last")


def read_list(path: Path) -> list[str]:
    """The names in *path*, one on each line, in Latin letters and of at most five words, each once."""
    lines = decode(read_data(path), path).splitlines()
    names = (line.strip() for line in lines)
    return list(dict.fromkeys(name for name in names if _is_usable(name)))


def _is_usable(name: str) -> bool:
    return bool(_USABLE.fullmatch(name)) and name[0].isupper() and ord(max(name)) < 0x250 and name.count(" ") < 5
