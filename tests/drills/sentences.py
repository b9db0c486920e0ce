"""The sentences that the drills send, and a check of the answers to them."""

import json
from collections import Counter

from bench.load import RIGHT, Request

TEXTS = [
    "Barack Obama was born in Hawaii and worked for the United Nations in New York.",
    "Angela Merkel met Emmanuel Macron in Paris on Tuesday, a spokesman said.",
    "Shares of Deutsche Bank fell in Frankfurt after the report.",
    "Nothing of the kind was found here.",
    "Kofi Annan of Ghana led the United Nations from 1997 to 2006.",
    "The Iraqi government said on Friday that troops had left Basra.",
    "She moved from London to Los Angeles to work for Warner Brothers.",
    "Mr. Smith went to Washington.",
    "The European Union and Japan signed the agreement in Tokyo.",
    "i can haz cheeseburger",
    "Toyota and Honda build cars in Ohio, Indiana and Alabama.",
    "In 2009 he flew to Oslo, where the Norwegian Nobel Committee gave him the Nobel Peace Prize.",
]


def text_requests(path, expected):
    """One request for each of TEXTS, right if the reply has exactly the *expected* entities."""

    def judge(entities):
        return lambda status, body: status == 200 and json.loads(body).get("entities") == entities

    bodies = [json.dumps({"text": text}).encode() for text in TEXTS]
    return [Request(path, body, is_right=judge(entities)) for body, entities in zip(bodies, expected, strict=True)]


def kinds(outcomes):
    """Counts of the outcomes that are not right, the most frequent first: ``"3 x 503 overloaded, 1 x HUNG"``."""
    counts = Counter(outcome.kind for outcome in outcomes if outcome.kind != RIGHT)
    return ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
