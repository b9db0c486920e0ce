"""Rules that have changed have another number, so that no bundle is served by others than it is for."""

import hashlib
import json
import random

from handler.text.rules import TEXT_RULES
from handler.text.sentences import split_sentences

#: The numbers of rules, and the digest of what they make of the texts below.
PINNED = {"tokens": 2, "lines": 2}, "688fa3012968e074"

PIECES = """
Robert I. Kahn|Yahoo! Inc.|Ste. Genevieve|K. He works|did n't|didn't|McDonald's|O'Neil’s|U.S.|Ph.D.|St. John|No. 5|p. 12
_Paris_|*Rome*|Berlin³|Googleʼs|Merkel.she|end.Next|https://ex.org/a?b=c!|ann@ex.org|#NER|@ann|3.5|1,000|10:30|$5|50%|A/B
Ann Lee-Smith|British-based|(Oslo)|"Oslo"|“Oslo”|«Oslo»
Oslo,|Oslo;|Oslo:|Oslo...|Oslo…|Oslo!?|東京|ひらがな|👩‍👧|👍🏽Oslo|é|e\u0301
the|of|and he|said|The|In|While|who|is|was born in|left.|came!|why?|- |* |• |1.
a) |> |>> |    |FC 2|0|–|—|\u200d|\u00ad|x\u200by
""".strip().replace("\n", "|").split("|")  # fmt: skip
GAPS = [" "] * 12 + ["  ", "", "\n", "\n", "\r\n", "\n\n", "\t", "\n> ", "\n    ", "\u2028", "\u00a0", ". ", ".\n"]


def made_of_the_texts():
    """The digest of the tokens and sentences of 4,000 texts, some wrapped, of up to 40 pieces."""
    draw = random.Random(31)
    digest = hashlib.sha256()
    for _ in range(4000):
        gaps = draw.choices([GAPS, [" ", " ", " ", "\n"], [" "]], k=1)[0]
        pieces = draw.choices(PIECES, k=draw.randint(1, 40))
        text = "".join(piece + draw.choice(gaps) for piece in pieces)
        sentences = [list(map(list, tokens)) for tokens in split_sentences(text)]
        digest.update(json.dumps(sentences).encode())
    return digest.hexdigest()[:16]


def test_a_change_of_the_rules_counts_their_number_up():
    numbers, pinned = PINNED
    made = made_of_the_texts()

    assert made == pinned, (
        f"the rules for tokens or line ends make {made} of these texts: count their number up in handler/text/rules.py,"
        " renew the bundles in models/, and pin both here"
    )
    assert {name: TEXT_RULES[name] for name in numbers} == numbers
