"""The tokeniser against the text itself: offsets are checked by slicing, coverage by Unicode's own categories."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.text.sentences import split_sentences
from handler.text.tokens import tokenize

any_text = st.text(
    alphabet=st.one_of(
        st.characters(),  # any code point, surrogates included
        st.sampled_from(
            "aA1 .,!?'’\"-&@#:/()\n\r\t\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff\u0301\ufe0f\x00\x85\u2028"
        ),
        st.sampled_from("日本語。ひらカナ한국어العربيةעבריתहिन्दीไทย👨👩👧👍🏽🇩🇪\ud800\udfff"),
    ),
    max_size=200,
)


def is_separator(char):
    """White space, control and invisible formatting characters, by the Unicode database."""
    return char.isspace() or unicodedata.category(char) in {"Cc", "Cf", "Zs", "Zl", "Zp"}


@settings(max_examples=1500, deadline=None)
@given(any_text)
@example("")
@example("\x00\ud800\udc00 e\u0301\u200d")
@example("👨\u200d👩\u200d👧\u200d👦👍🏽🇩🇪🇫🇷")
@example("a\u00ad")
@example("\u200da")
@example("He didn't see Ann's No. 5, they’ll say.")
def test_tokens_give_the_text_back_in_order_and_leave_nothing_out(text):
    tokens = tokenize(text)

    assert all(text[token.start : token.end] == token.text != "" for token in tokens)
    assert [tokens[i] for i in range(len(tokens))] == list(tokens)
    assert list(tokens) == list(zip(tokens.words, tokens.starts, tokens.ends, strict=True))
    bounds = [0, *(bound for token in tokens for bound in (token.start, token.end)), len(text)]
    assert bounds == sorted(bounds)
    gaps = [text[end:start] for end, start in zip(bounds[::2], bounds[1::2], strict=True)]
    assert all(is_separator(char) for gap in gaps for char in gap)
    assert not any(char.isspace() for token in tokens for char in token.text)


@settings(max_examples=500, deadline=None)
@given(any_text)
def test_sentences_are_the_tokens_cut_in_pieces(text):
    sentences = split_sentences(text)

    assert [token for sentence in sentences for token in sentence] == list(tokenize(text))
    assert all(sentence.words for sentence in sentences)


@settings(max_examples=500, deadline=None)
@given(any_text, any_text)
def test_a_blank_line_keeps_what_is_in_front_of_it_from_what_is_behind(before, after):
    parts = [f"{before}\n\n", f"\n\n{after}"]

    together = [sentence.words for sentence in split_sentences("".join(parts))]

    assert together == [sentence.words for part in parts for sentence in split_sentences(part)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Barack Obama's dog didn't bark.", "Barack|Obama|'s|dog|did|n't|bark|."),
        ("They’re in St. John’s, N.L.", "They|’re|in|St.|John|’s|,|N.L."),
        ("the U.S.-led war, U.S. troops, the U.S", "the|U.S.-led|war|,|U.S.|troops|,|the|U.S"),
        ("George W. Bush met J.K. Rowling", "George|W.|Bush|met|J.K.|Rowling"),
        ("AT&T paid $1,000.50 (10%) at 12:30 p.m.", "AT&T|paid|$|1,000.50|(|10|%|)|at|12:30|p.m."),
        ("O'Neil and L'Oréal at Yahoo.com", "O'Neil|and|L'Oréal|at|Yahoo.com"),
        ("see https://example.com/a?b=c. Mail me@x.org!", "see|https://example.com/a?b=c|.|Mail|me@x.org|!"),
        ("@user loves #Berlin :) so... much!!", "@user|loves|#Berlin|:)|so|...|much|!!"),
        ('"Paris," he said -- twice', '"|Paris|,|"|he|said|--|twice'),
        ("end.Next one", "end|.|Next|one"),
        ("the 1990s, 10th of Jan. 5-year-olds", "the|1990s|,|10th|of|Jan.|5-year-olds"),
        ("日本語。テスト", "日|本|語|。|テ|ス|ト"),
        ("Tokyo東京2020 大阪2025", "Tokyo|東|京|2020|大|阪|2025"),
        ("größer Straße № 5 naïve", "größer|Straße|№|5|naïve"),
        ("हिन्दी में cafe\u0301", "हिन्दी|में|cafe\u0301"),
        ("👨\u200d👩\u200d👧👍🏽🇩🇪🇫🇷", "👨\u200d👩\u200d👧|👍🏽|🇩🇪|🇫🇷"),
        ("co\u00adoperate zero\u200bwidth \ufeffbom", "co\u00adoperate|zero|width|bom"),
        ("a\x00b\ud800c", "a|b|\ud800|c"),
        ("No. 5 and No.", "No.|5|and|No|."),
        ("No.  5, No.x 5", "No|.|5|,|No.x|5"),
        ("  two  spaces \u00a0 and\u3000more ", "two|spaces|and|more"),
        ("e-mail, word. (a) b; c: d", "e-mail|,|word|.|(|a|)|b|;|c|:|d"),
    ],
)
def test_words_are_cut_as_the_penn_treebank_cuts_them(text, expected):
    assert "|".join(tokenize(text).words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He left. She stayed.", ["He left .", "She stayed ."]),
        ("Mr. Smith met Dr. No. They talked.", ["Mr. Smith met Dr. No .", "They talked ."]),
        ("He lives in the U.S. The house is big.", ["He lives in the U.S.", "The house is big ."]),
        ("He works for Acme Inc. in Ohio.", ["He works for Acme Inc. in Ohio ."]),
        ('"Go!" he cried. "Now." They went.', ['" Go ! " he cried .', '" Now . "', "They went ."]),
        ("i saw it. it was big.", ["i saw it . it was big ."]),
        ("Title\nBarack Obama\nHawaii", ["Title", "Barack Obama", "Hawaii"]),
        ("first\n\nsecond", ["first", "second"]),
        ("a\r\n\r\nb\r\nc", ["a", "b", "c"]),
        ("cell one\tcell two", ["cell one", "cell two"]),
        (
            "The meeting of the leaders took place in the city of New\nYork on Monday.",
            ["The meeting of the leaders took place in the city of New York on Monday ."],
        ),
        (
            "- buy a very long list of things from the shop in London\n- go to Paris",
            ["- buy a very long list of things from the shop in London", "- go to Paris"],
        ),
        ("東京です。大阪です。", ["東 京 で す 。", "大 阪 で す 。"]),
        ("It ended.The next began.", ["It ended .", "The next began ."]),
        ("Really? Yes. (No.) Fine", ["Really ?", "Yes .", "( No . )", "Fine"]),
        ("She said (twice.) The end.)", ["She said ( twice . )", "The end . )"]),
        ('He ran. " She stayed', ["He ran .", '" She stayed']),
        ("He ran. (", ["He ran .", "("]),
        (".Next one", [". Next one"]),
        ("see https://x.org/東京。 Then go", ["see https://x.org/東京。 Then go"]),
        ("a\n \u200b\n b", ["a", "b"]),
        ("\n\n\tonly\n\n\t", ["only"]),
        (
            "cell\tThe meeting of the leaders took place in the city of New\nYork on Monday.",
            ["cell", "The meeting of the leaders took place in the city of New York on Monday ."],
        ),
        ("", []),
        (" \n\t\x00\u200b ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text, expected):
    assert [" ".join(sentence.words) for sentence in split_sentences(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "a" * 64_000,
        "a." * 32_000,
        "a@" * 32_000,
        "a-" * 32_000,
        "A." * 32_000,
        "1." * 32_000,
        "'" * 64_000,
        "a'" * 32_000,
        "http://" + "." * 64_000,
        "www." * 16_000,
        "a\u200d" * 32_000,
        "e\u0301" * 32_000,
        "👨\u200d" * 32_000,
        "\n" * 64_000,
        "a\n" * 32_000,
        "a" + "\n\u200b" * 128_000 + "b",
        " " * 64_000,
        "\u200b" * 64_000 + ".",
        "a  " * 20_000,
        ". " * 32_000,
        "日本。" * 20_000,
        "a." + "b" * 64_000,
        '." ' * 20_000,
        ")" * 256_000,  # a quadratic walk would not end within the time limit of a test
        ".)" * 128_000,
    ],
    ids=lambda text: repr(text[:4]),
)
def test_a_hostile_text_of_64k_characters_is_cut_exactly(text):
    tokens = [token for sentence in split_sentences(text) for token in sentence]

    kept = {i for token in tokens for i in range(token.start, token.end)}
    covered = "".join(token.text for token in tokens)
    assert covered == "".join(char for i, char in enumerate(text) if i in kept or not is_separator(char))


def test_line_ends_of_windows_part_what_others_part():
    wrapped = (
        "The president of the United States, Barack Obama, flew to the city of\n"
        "Honolulu on Friday, and stayed there with his family and some friends of\n"
        "theirs.\n\nThen he went home.\n"
    )

    sentences = [[token.text for token in sentence] for sentence in split_sentences(wrapped)]

    assert len(sentences) == 2
    for line_end in ("\r\n", "\r"):
        of_windows = split_sentences(wrapped.replace("\n", line_end))
        assert [[token.text for token in sentence] for sentence in of_windows] == sentences
