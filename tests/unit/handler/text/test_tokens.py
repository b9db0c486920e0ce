"""The tokeniser against the text itself: offsets are checked by slicing, coverage by Unicode's own categories."""

import html
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
            "aAI1 .,!?'’\"-&@#:/()_*<>`´ʼ²½;\n\r\t\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff\u0301\ufe0f\x00\x85\u2028"
        ),
        st.sampled_from("日本語。ひらカナ한국어العربيةעבריתहिन्दीไทย👨👩👧👍🏽🇩🇪\ud800\udfff"),
    ),
    max_size=200,
)


REFERENCES = {"&amp;": "&", "&#39;": "'", "&nbsp;": "\u00a0", "&eacute;": "é", "&#8217;": "’", "&lt;": "<"}


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

    assert all(text[token.start : token.end] != "" != token.text for token in tokens)
    assert all(
        text[token.start : token.end] == token.text or token.text.lower() in ("*", "n't") or token.text[0] == "'"
        for token in tokens
    )
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
        (
            "see [a](https://x.org/a). [https://a.org](https://b.org)",
            "see|[|a|]|(|https://x.org/a|)|.|[|https://a.org|]|(|https://b.org|)",
        ),
    ],
)
def test_words_are_cut_as_the_penn_treebank_cuts_them(text, expected):
    assert "|".join(tokenize(text).words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__Barack Obama__ visited _Paris_ and **Berlin**.", "__|Barack|Obama|__|visited|_|Paris|_|and|**|Berlin|**|."),
        ("name: _Angela Merkel_, *Bonn* ~Köln~ ~~Rome~~", "name|:|_|Angela|Merkel|_|,|*|Bonn|*|~|Köln|~|~~|Rome|~~"),
        ("_angela merkel_ ___Paris___ __paris_", "_|angela|merkel|_|___|Paris|___|__|paris|_"),
        ("snake_case, __init__ file_name.txt MAX_VALUE _a_b", "snake_case|,|__init__|file_name.txt|MAX_VALUE|_a_b"),
        ("_freeze_module.c _GTK_AREA_Dn lib/_vendor `_io`", "_freeze_module.c|_GTK_AREA_Dn|lib|/|_vendor|`|_io|`"),
        ("the :mod:`re` module, Obama's.he", "the|:|mod|:|`|re|`|module|,|Obama|'s|.|he"),
        ("@some_user_ #big_data ____ a__b", "@some_user_|#big_data|____|a__b"),
        ("Merkel¹ met Macron² in Berlin³. Xi¹²", "Merkel|*|met|Macron|*|in|Berlin|*|.|Xi|*"),
        ("5 m² of H₂O, x², 10², 2½ and ½; ¹Harvard ¹⁴C", "5|m²|of|H₂O|,|x²|,|10²|,|2½|and|½|;|¹|Harvard|¹⁴C"),
        ("Berlin① ②Paris km² mc² Obama⁽", "Berlin|*|②|Paris|km²|mc²|Obama|⁽"),
        ("Obamaᵃ xⁿ 10ⁿ 4ᵗʰ", "Obama|*|xⁿ|10ⁿ|4ᵗʰ"),
        ("Merkelʼs and Obama`s and Rome´s, O´Neil", "Merkel|'s|and|Obama|'s|and|Rome|'s|,|O´Neil"),
        ("Googleʹs Rome＇s Ann‘s don`t canʼt Oʼneil", "Google|'s|Rome|'s|Ann|'s|do|n't|ca|n't|Oʼneil"),
        ("studentsʼ `code`s ‘Paris’ Hawaiʻi 5′10", "students|ʼ|`|code|'s|‘|Paris|’|Hawaiʻi|5|′|10"),
        ("U.S.'s Inc.'s #Berlin's @ann's (x)'s I 'm", "U.S.|'s|Inc.|'s|#Berlin|'s|@ann|'s|(|x|)|'s|I|'m"),
        ("I met Merkel.she was, Paris.the city", "I|met|Merkel|.|she|was|,|Paris|.|the|city"),
        ("at Siemens.it is, at Ford.it's", "at|Siemens|.|it|is|,|at|Ford|.|it|'s"),
        ("in Rome.in 1990 or Rome.At home.Next", "in|Rome|.|in|1990|or|Rome|.|At|home|.|Next"),
        ("example.com amazon.it has node.js e.g. v1.2", "example.com|amazon.it|has|node.js|e.g.|v1.2"),
        ("Siemens.it, ASP.NET Vue.JS will.i.am a.the", "Siemens.it|,|ASP.NET|Vue.JS|will.i.am|a.the"),
        ("x.his() www.paris.she.com Foo.bar.she", "x.his|(|)|www.paris.she.com|Foo.bar.she"),
        ("Paris,London;Rome:Bonn/Köln", "Paris|,|London|;|Rome|:|Bonn|/|Köln"),
        ("Ben&Jerry met Tom&Ann in Berlin&Paris", "Ben|&|Jerry|met|Tom|&|Ann|in|Berlin|&|Paris"),
        ("AT&T R&D H&M P&G M&S Q&A PG&E S&P500 A&Ms", "AT&T|R&D|H&M|P&G|M&S|Q&A|PG&E|S&P500|A&Ms"),
        ("BB&T's at&t BEN&JERRY A&Berlin D&AD-led", "BB&T|'s|at&t|BEN|&|JERRY|A|&|Berlin|D&AD-led"),
        ("Obama😀 Merkel❤️! 👍🏽Macron", "Obama|😀|Merkel|❤️|!|👍🏽|Macron"),
        ("Merkel—who 1999–2003 Paris–Dakar Ann--he", "Merkel|—|who|1999|–|2003|Paris|–|Dakar|Ann|--|he"),
        ("AC/DC and/or 24/7 12:30 5km $5bn McCain", "AC|/|DC|and|/|or|24/7|12:30|5km|$|5bn|McCain"),
        ("Obama...he said…Then Paris…", "Obama|...|he|said|…|Then|Paris|…"),
        ("<p>Paris</p> <b>Rome</b>, Bonn<br/> <Ann>", "<p>|Paris|</p>|<b>|Rome|</b>|,|Bonn|<br/>|<|Ann|>"),
        ("a<b and 1<2>0", "a|<|b|and|1|<|2|>|0"),
        ("an M.Sc. and a Ph.D. in St.Louis by J.Smith", "an|M.Sc.|and|a|Ph.D.|in|St.|Louis|by|J.|Smith"),
    ],
)
def test_what_sticks_to_a_name_is_a_token_of_its_own(text, expected):
    assert "|".join(tokenize(text).words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AT&amp;T bought R&amp;D.", {"AT&T": "AT&amp;T", "bought": "bought", "R&D": "R&amp;D", ".": "."}),
        ("Angela&nbsp;Merkel", {"Angela": "Angela", "Merkel": "Merkel"}),
        ("Obama&#39;s dog", {"Obama": "Obama", "'s": "&#39;s", "dog": "dog"}),
        ("Ann&rsquo;s M&uuml;nchen", {"Ann": "Ann", "’s": "&rsquo;s", "München": "M&uuml;nchen"}),
        ("&lt;Rome&gt; &quot;no&quot;", {"<": "&lt;", "Rome": "Rome", ">": "&gt;", '"': "&quot;", "no": "no"}),
        ("Paris&mdash;Rome&hellip;", {"Paris": "Paris", "—": "&mdash;", "Rome": "Rome", "…": "&hellip;"}),
        ("https://x.org/?a=1&amp;b=2", {"https://x.org/?a=1&b=2": "https://x.org/?a=1&amp;b=2"}),
        (
            "AT&T; &nosuch; &#0; &amp",
            {"AT&T": "AT&T", ";": ";", "&": "&", "nosuch": "nosuch", "#0": "#0", "amp": "amp"},
        ),
        ("Ben&amp;Jerry", {"Ben": "Ben", "&": "&amp;", "Jerry": "Jerry"}),
    ],
)
def test_a_character_reference_is_read_as_its_character_and_keeps_its_place(text, expected):
    read = {word: text[start:end] for word, start, end in tokenize(text)}

    assert read == expected


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(any_text, st.sampled_from(list(REFERENCES)))))
def test_a_text_with_character_references_has_the_words_of_the_text_that_a_browser_shows(parts):
    escaped = "".join(part if part in REFERENCES else html.escape(part) for part in parts)
    shown = "".join(REFERENCES.get(part, part) for part in parts)

    tokens = tokenize(escaped)

    assert tokens.words == tokenize(shown).words
    assert [html.unescape(escaped[start:end]) for _, start, end in tokens] == [
        shown[start:end] for _, start, end in tokenize(shown)
    ]


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
        "_a" * 50_000,
        "_a " * 33_000,
        "a__" * 33_000,
        "__a_" * 25_000,
        "A&" * 50_000,
        "AB&CD" * 20_000,
        "²a" * 50_000,
        "10²" * 33_000,
        "1.2." * 25_000,
        "aʼ" * 50_000,
        "a`s" * 33_000,
        "<p>" * 33_000,
        "<b>.</b>" * 12_500,
        "I. " * 33_000,
        "A." + " " * 100_000 + "B.",
        ("A." + "\n" * 40) * 2_500,
        "K. He " * 16_000,
        "and I. He " * 10_000,
        "v. A " * 20_000,
        "Yahoo! " * 14_000,
        "Merkel.she" * 10_000,
        "Rome.in 19 " * 9_000,
        "https://](" * 10_000,
        "a.\u200b" * 33_000,
    ],
    ids=lambda text: repr(text[:4]),
)
def test_a_hostile_text_of_64k_characters_is_cut_exactly(text):
    tokens = [token for sentence in split_sentences(text) for token in sentence]

    kept = {i for token in tokens for i in range(token.start, token.end)}
    covered = "".join(text[token.start : token.end] for token in tokens)
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
