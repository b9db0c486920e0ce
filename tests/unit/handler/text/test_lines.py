"""Which line ends end a sentence, and which marks before lines are in no token: texts of many kinds, cut by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.text.lines import lay_out
from handler.text.sentences import split_sentences


def lines_of(text):
    """The words of each sentence as one string."""
    return [" ".join(sentence.words) for sentence in split_sentences(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The ship sailed from New\nYork to San\nFrancisco last week.",
        "The committee was chaired by Angela\nMerkel of Germany.",
        "It was announced by a spokesman for the Bank of\nAmerica in Charlotte on Monday.",
        "> A spokesman said on Monday that he would fly to New\n> York next week to meet the director.",
        ">> He was seen with John\n>> Smith in the evening.",
        "> > They say that the head of the\n> > University of Leeds has left.",
        "| The letter was sent by the\n| King of Spain to his brother.",
        "# This module was written by the people of\n# Berlin, and is theirs.",
        "// The idea is that of\n// Donald Knuth, who wrote it down.",
        "    The ship sailed from New\n    York to the island.",
        "\tThe ship sailed from New\n\tYork to the island.",
        "It was signed by President William\nMcKinley on the first day.",
        "The song was written by Robert I.\nKahn and sung by his wife.",
        "In the hall she met Mr.\nSmith and his dog.",
        "He saw her in the Free\nState.",
        "they came from new\nyork and were met by the mayor of the\ncity.",
        "LICENSEE SHALL NOT HOLD THE UNIVERSITY OF\nCALIFORNIA OR ANY OF ITS REGENTS LIABLE FOR\n"
        "A LOSS, BE IT OF MONEY OR OF TIME, WHICH\nTHE USE OF THIS PROGRAM MAY CAUSE TO HIM OR\n"
        "TO THE OTHER USERS OF THE PROGRAM, OR FOR\nTHE LOSS OF DATA.",
        "He had met the man in Buenos\r\nAires and in the hills.",
        "He had met the man in Buenos\u2028Aires and in the hills.",
        "He had met the man in Buenos\x85Aires and in the hills.",
        "We drove to the lakes with Peter, who\nlives in Oslo, and with Kari\nNordmann from work; the others\nstayed.",
    ],
)
def test_a_line_end_within_a_phrase_is_no_end_of_a_sentence(text):
    assert len(split_sentences(text)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The summit in the capital was attended by Angela Merkel\nBarack Obama came later.",
            ["The summit in the capital was attended by Angela Merkel", "Barack Obama came later ."],
        ),
        (
            "Leaders of the two countries met on Friday in New York\nWashington denied the reports.",
            ["Leaders of the two countries met on Friday in New York", "Washington denied the reports ."],
        ),
        ("Angela Merkel\nBarack Obama\nEmmanuel Macron", ["Angela Merkel", "Barack Obama", "Emmanuel Macron"]),
        ("paris\nlondon\nnew york", ["paris", "london", "new york"]),
        ("10 Downing Street\nLondon SW1A 2AA\nUnited Kingdom", 3),
        ("See you in Berlin\n\nAngela Merkel\nBundeskanzleramt\nWilly-Brandt-Strasse", 4),
        ("Angela Merkel Visits Paris\nThe chancellor came by train and was met at the door by\nthe king.", 2),
        ("BERLIN, March 3\nAngela Merkel met the president of\nFrance.", 2),
        ("From: Angela Merkel\nTo: Barack Obama\nSubject: the trip to\n  Berlin", 3),
        ("ANNA: Have you seen Peter\nBEN: Maria has, in the house of the\nSmiths.", 2),
        ("1\n00:00:01,000 --> 00:00:02,500\nI met Angela\nMerkel in the hall.", None),
        ("name,city\nAngela Merkel,Berlin\nBarack Obama,Chicago", 3),
        ("Name\tCity\nAngela Merkel\tBerlin\nBarack Obama\tChicago", 6),
        ("Contents\n1. Berlin ........ 5\n2. Paris ........ 7", None),
        ("Berlin       3\nParis        2", 2),
        ("# The trip to Berlin\nMerkel met the others there.", 2),
        ("The Trip to Berlin\n==================\nMerkel met the others there.", 3),
        ("- Angela Merkel of the party\n- Barack Obama of the other", 2),
        ("- the meeting was opened by Angela\n  Merkel of Germany\n- Barack Obama spoke", 2),
        ("1. Angela Merkel\n2. Barack Obama\na) Emmanuel Macron", None),
        ("* Paris\n* London\n\n+ Rome", 3),
        (
            "I sing of Angela Merkel\nBarack Obama, hear my song\nAnd let the bells of Paris ring\nThe whole of summer",
            4,
        ),
        (
            "We met in the house of Smith\n   Jones was there as well, and with him was the girl\nof whom we spoke.",
            2,
        ),
        ("> Are you in Berlin\nAngela is in Paris.", None),
        ("> > Are you in the town of Berlin\n> Angela is in the town of Paris.", None),
        ("i am in berlin\nyes so am i, and i have been here for the last ten years or so\nok", 3),
        ("end of the page in Berlin\x0cAngela Merkel came later.", 2),
        ("It ended well in the town of Bonn\u2029Angela Merkel came later.", 2),
    ],
)
def test_names_on_two_lines_that_end_are_in_two_sentences(text, expected):
    cut = lines_of(text)

    if isinstance(expected, list):
        assert cut == expected
    elif expected:
        assert len(cut) == expected
    broken = [
        ("Merkel", "Barack"),
        ("York", "Washington"),
        ("Berlin", "Angela"),
        ("Smith", "Jones"),
        ("Berlin", "Paris"),
    ]
    assert not [pair for pair in broken for sentence in cut if " ".join(pair) in sentence]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("> Angela Merkel\n> Barack Obama", ["Angela Merkel", "Barack Obama"]),
        (">Angela Merkel is in the\n>office of the president.", ["Angela Merkel is in the office of the president ."]),
        ("> > one of them is in Paris\n> the other in Rome", ["one of them is in Paris", "the other in Rome"]),
        (
            "John wrote:\n> Where is the house of the\n> Smiths?\n>\n> I do not know.\nIn Leeds.",
            ["John wrote :", "Where is the house of the Smiths ?", "I do not know .", "In Leeds ."],
        ),
        # one line proves nothing, and what compares, prompts or closes a tag quotes nothing
        ("a\n> 5 is", ["a", "> 5 is"]),
        ("> ls", ["> ls"]),
        (">>> x = 1\n>>> print(x)", [">>> x = 1".replace(">>>", "> > >"), "> > > print ( x )"]),
        ("if (a\n    > 5\n    > 6", ["if ( a", "> 5", "> 6"]),
        ("# Berlin\n# Paris", ["# Berlin", "# Paris"]),
        ("He said that 5 > 4\nand 3 > 2 in the end.", ["He said that 5 > 4 and 3 > 2 in the end ."]),
        ("| Angela Merkel | Berlin |\n| Barack Obama | Chicago |", None),
    ],
)
def test_marks_of_quotations_are_in_no_token_and_other_marks_are(text, expected):
    cut = lines_of(text)

    if expected:
        assert cut == expected
    else:
        assert sum(line.count("|") for line in cut) == text.count("|")


def test_an_entity_over_a_quoted_line_end_has_its_place_in_the_text_as_given():
    text = "> He would fly to New\n> York next week to meet the head of the firm."

    (sentence,) = split_sentences(text)

    i = sentence.words.index("New")
    assert text[sentence.starts[i] : sentence.ends[i + 1]] == "New\n> York"


def test_a_hyphen_at_a_line_end_stays_what_it_is():
    """Whether it belongs to the word cannot be known: "Anglo-American" is wrapped there, too."""
    assert lines_of("The treaty was signed by the Anglo-\nAmerican side.") == lines_of(
        "The treaty was signed by the Anglo- American side."
    )


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aA .,>#|-\n\r\t\x0b\x0c\x85\u2028\u2029\u200b", max_size=120))
def test_a_layout_keeps_every_character_but_line_ends_and_marks_before_lines(text):
    layout = lay_out(text, lambda: None)

    assert len(layout.text) == len(text)
    changed = [(before, after) for before, after in zip(text, layout.text, strict=True) if before != after]
    assert {before for before, _ in changed} <= set(">#|\n\r\t\x85\u2028\u200b")
    assert {after for _, after in changed} <= {" "}
    assert layout.cuts == sorted(layout.cuts)


@pytest.mark.parametrize(
    "line",
    [
        "\n",
        "a\n",
        "The ship sailed from New\n",
        "> " * 20 + "it is so\n",
        ">a\n",
        "# it is of the\n",
        "\ta",
        "a" * 20 + "\n",
    ],
    ids=repr,
)
def test_the_work_grows_as_the_number_of_lines(line):
    """Counted in calls of the cancellation check: one for so many steps of each loop."""
    calls = []

    def count(num_lines):
        calls.clear()
        lay_out(line * num_lines, lambda: calls.append(None))
        return len(calls)

    small, large = count(2_500), count(25_000)

    assert small >= 1
    assert large <= 12 * small
