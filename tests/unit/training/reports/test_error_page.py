"""The page of errors: what it counts, that it is safe and whole, and that it works with JavaScript and without."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import expect

import training.reports.error_page
from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.errors import TrainingError
from training.reports.error_page import check_folder, error_page, write_error_page
from training.scoring.evaluation import TaggedCorpus, TaggedSentence

#: Words, gold spans and predicted spans: every kind of error once, wrong boundaries twice, and a faultless sentence.
SENTENCES = [
    ("Ann met Bob Lee in Oslo .", [(0, 1, "PER"), (2, 4, "PER"), (5, 6, "LOC")], [(0, 1, "PER"), (2, 3, "PER")]),
    ("Apple sued Amazon .", [(0, 1, "ORG"), (2, 3, "ORG")], [(0, 1, "ORG"), (2, 3, "LOC")]),
    ("Nothing is wrong with Rome .", [(4, 5, "LOC")], [(4, 5, "LOC")]),
    ("The Bank of Paris", [(1, 4, "ORG")], [(3, 4, "LOC")]),
    ("Monday", [], [(0, 1, "PER")]),
    ("Old Oslo", [(1, 2, "LOC")], [(0, 2, "LOC")]),
]


def tagged(name, rows):
    """A corpus of *rows* such as ``SENTENCES``, on lines 10, 11, ..."""
    sentences = [
        TaggedSentence(
            tuple(words.split(" ")),
            tuple(Span(*span) for span in gold),
            tuple(ScoredSpan(Span(*span), 0.62512) for span in predicted),
        )
        for words, gold, predicted in rows
    ]
    return TaggedCorpus(name, range(10, 10 + len(rows)), sentences)


@pytest.fixture
def page_of(make_bundle):
    """``page_of(rows, ..., max_sentences=...)``: the page of a model that tagged files of these rows."""
    config = make_bundle().config

    def page(*files, max_sentences=2000, names=("news.conll", "web.jsonl")):
        corpora = [tagged(name, rows) for name, rows in zip(names, files, strict=False)]
        return error_page(config, "sha256:0123", corpora, max_sentences)

    return page


class Page(HTMLParser):
    """A page taken apart: its elements as (name, attributes), and the text of each, white space made one space."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self._texts = []
        self._open = []
        self.feed(html)
        self.close()
        assert self._open == []  # every element ends, and where it should

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._texts.append("")
        if tag not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data):
        for i in self._open:
            self._texts[i] += data

    def texts(self, *tags):
        found = zip(self.elements, self._texts, strict=True)
        return [" ".join(text.split()) for (tag, _), text in found if tag in tags]

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def row(page, caption, name):
    """The numbers in the row *name* of the table with a *caption* that begins so, an empty cell as None."""
    table = next(table for table in re.findall(r"<table.*?</table>", page, re.DOTALL) if f"<span>{caption}" in table)
    for cells in map(Page, re.findall(r"<tr.*?</tr>", table, re.DOTALL)):
        if cells.texts("th", "td")[0] == name:
            return [float(found[0]) if (found := re.findall(r"[\d.]+", cell)) else None for cell in cells.texts("td")]
    raise LookupError(name)


def test_the_scores_are_those_of_the_evaluation(page_of):
    page = page_of(SENTENCES)

    assert row(page, "By label", "LOC") == [25.0, 33.33, 28.57, 3, 4, 1]
    assert row(page, "By label", "ORG") == [100.0, 33.33, 50.0, 3, 1, 1]
    assert row(page, "By label", "PER") == [33.33, 50.0, 40.0, 2, 3, 1]
    assert row(page, "By label", "micro") == [37.5, 37.5, 37.5, 8, 8, 3]
    assert row(page, "By label", "macro") == [52.78, 38.89, 39.52, None, None, None]


def test_errors_are_counted_by_kind_and_by_labels(page_of):
    page = page_of(SENTENCES)

    kinds = ["Missed", "Spurious", "Wrong label", "Wrong boundary", "Wrong label and boundary"]
    assert [row(page, "Gold and predicted", kind)[-1] for kind in kinds] == [1, 1, 1, 2, 1]
    # Columns LOC, ORG, PER, none and all gold; what is right comes first on the diagonal.
    assert row(page, "Gold labels", "LOC") == [1, 0, 0, 1, 3]
    assert row(page, "Gold labels", "ORG") == [2, 1, 0, 0, 3]
    assert row(page, "Gold labels", "PER") == [0, 0, 1, 0, 2]
    assert row(page, "Gold labels", "none: spurious") == [0, 0, 1, None, None]
    assert row(page, "Gold labels", "all found") == [4, 1, 3, None, None]
    assert "1 right1 errors: gold PER, model PER wrong boundary" in Page(page).texts("td")
    assert "1 right1 errors: gold LOC, model LOC wrong boundary" in Page(page).texts("td")


def test_each_sentence_says_where_it_stands_and_what_is_wrong(page_of):
    page = Page(page_of(SENTENCES))

    assert page.texts("h3") == [f"news.conll, line {line}" for line in (10, 11, 13, 14, 15)]
    assert page.texts("li") == [
        "Wrong boundary: Bob Lee PER, not Bob PER",
        "Missed: Oslo LOC",
        "Wrong label: Amazon is ORG, not LOC",
        "Wrong label and boundary: Bank of Paris ORG, not Paris LOC",
        "Spurious: Monday PER",
        "Wrong boundary: Oslo LOC, not Old Oslo LOC",
    ]
    assert page.texts("dd")[:4] == [
        "Ann PER met Bob Lee ✗ PER in Oslo ✗ LOC .",
        "Ann PER 62.5% met Bob ✗ PER 62.5% Lee in Oslo .",
        "Apple ORG sued Amazon ✗ ORG .",
        "Apple ORG 62.5% sued Amazon ✗ LOC 62.5% .",
    ]


def test_files_are_scored_apart_and_together(page_of):
    page = page_of(SENTENCES[:2], SENTENCES[2:])

    assert row(page, "Each file", "news.conll") == [50.0, 40.0, 44.44, 38.89, 5, 4, 2, 2, 2]
    assert row(page, "Each file", "web.jsonl") == [25.0, 33.33, 28.57, 13.33, 3, 4, 1, 4, 3]
    assert row(page, "By label", "micro") == [37.5, 37.5, 37.5, 8, 8, 3]
    assert Page(page).texts("h3")[1:3] == ["news.conll, line 11", "web.jsonl, line 11"]


def test_no_more_sentences_than_asked_for_spread_over_all(page_of):
    page = page_of(SENTENCES * 2, SENTENCES * 2, max_sentences=4)

    assert Page(page).texts("h3") == [
        f"{name}, line {line}" for name in ("news.conll", "web.jsonl") for line in (10, 16)
    ]
    assert "4 of 20 are on this page" in page
    assert row(page, "Gold and predicted", "Spurious")[-1] == 4  # of all
    assert "0 sentences with the error “Spurious”. Show all sentences" in Page(page).texts("p")
    assert "4 sentences with the error “Missed”. Show all sentences" in Page(page).texts("p")


def test_a_model_without_errors_is_told_so(page_of):
    page = page_of(SENTENCES[2:3])

    assert "There are none: every entity is right." in Page(page).texts("p")
    assert "<form" not in page
    assert row(page, "Gold labels", "LOC") == [1, 0, 1]


HOSTILE = "</script><script>alert(1)</script>"
RTL = "محمد"


def test_what_the_files_hold_is_text_and_nothing_else(page_of):
    rows = [
        (f"{HOSTILE} \"quoted\" 'x' &amp; {{{{7*7}}}}", [(0, 1, HOSTILE)], [(0, 2, 'a"b')]),
        (f"{RTL} \u202eevil\u2066 a\x00b \ud800 \u200f", [(0, 1, "PER")], [(1, 2, "PER")]),
    ]

    html = page_of(rows, names=("<img src=x onerror=alert(1)>.conll",))

    page = Page(html)
    names = {name for name, _ in page.elements}
    assert names.isdisjoint({"img", "iframe", "object", "link", "base"})
    assert sum(name == "script" for name, _ in page.elements) == 1
    assert page.texts("dd")[0] == f"{HOSTILE} ✗ {HOSTILE} \"quoted\" 'x' &amp; {{{{7*7}}}}"
    assert page.texts("dd")[2] == f"{RTL} ✗ PER [U+202E]evil[U+2066] a[U+0000]b [U+D800] [U+200F]"
    assert [attributes["dir"] for name, attributes in page.elements if name == "dd"] == ["ltr", "ltr", "rtl", "rtl"]
    assert not re.search("[\x00-\x09\x0b-\x1f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_the_page_needs_nothing_else_and_lets_nothing_else_in(page_of):
    html = page_of(SENTENCES)

    page = Page(html)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(attributes["content"] for name, attributes in page.elements if "http-equiv" in attributes)
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in policy
    assert page.values("src") == page.values("style") == []
    assert all(link.startswith("#") for link in page.values("href"))
    assert not re.search(r"url\(|@import|https?:|//[a-z]", html.replace("// ", ""))


def test_names_and_references_fit_together(page_of):
    page = Page(page_of(SENTENCES, SENTENCES))

    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href")} <= set(ids)
    assert set(page.values("for")) == {"kind", "gold", "predicted", "file", "search"}
    assert {*page.values("for"), *page.values("aria-labelledby")} <= set(ids)
    assert ("html", {"lang": "en"}) in page.elements
    assert all("scope" in attributes for name, attributes in page.elements if name == "th")
    assert len(page.texts("caption")) == len(page.texts("table")) == 4


def test_the_same_errors_give_the_same_page(page_of):
    assert page_of(SENTENCES) == page_of(SENTENCES)


@pytest.fixture
def opened(browser, page_of, tmp_path):
    """``opened(javascript=...)``: the page of two files in a browser; a complaint of the browser fails the test."""
    path = tmp_path / "errors.html"
    path.write_text(page_of(SENTENCES, SENTENCES[:2]), encoding="utf-8")
    complaints = []
    contexts = []

    def open_page(*, javascript):
        contexts.append(browser.new_context(java_script_enabled=javascript))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page):
    return [heading.inner_text() for heading in page.locator("article:visible h3").all()]


@pytest.mark.parametrize("javascript", [True, False])
def test_a_number_in_a_table_leads_to_its_sentences(opened, javascript):
    page = opened(javascript=javascript)
    assert len(shown(page)) == 7

    page.get_by_role("link", name="errors: gold ORG, model LOC").click()
    expect(page.locator("article:visible")).to_have_count(3)
    assert shown(page) == ["news.conll, line 11", "news.conll, line 13", "web.jsonl, line 11"]

    page.get_by_role("link", name="errors: Wrong label and boundary").click()
    expect(page.locator("article:visible")).to_have_count(1)
    assert shown(page) == ["news.conll, line 13"]

    page.get_by_role("link" if not javascript else "button", name="Show all").click()
    expect(page.locator("article:visible")).to_have_count(7)


def test_without_javascript_a_line_says_what_is_shown(opened):
    page = opened(javascript=False)

    page.get_by_role("link", name="errors: Missed").click()

    expect(page.get_by_text("2 sentences with the error “Missed”.")).to_be_visible()
    expect(page.locator("form")).to_be_hidden()


def test_with_javascript_choices_and_a_search_combine_and_the_number_is_told(opened):
    page = opened(javascript=True)
    status = page.get_by_role("status")
    expect(status).to_have_text("7 of 7 sentences shown")

    page.get_by_label("Kind of error").select_option("Wrong boundary")
    expect(status).to_have_text("3 of 7 sentences shown")
    page.get_by_label("File", exact=True).select_option("news.conll")
    expect(status).to_have_text("2 of 7 sentences shown")
    page.get_by_label("Text", exact=True).fill("old OSLO")
    expect(status).to_have_text("1 of 7 sentences shown")
    assert shown(page) == ["news.conll, line 15"]
    # One error must fit all choices: the sentence with a wrong boundary of PER also misses a LOC.
    page.get_by_label("Text", exact=True).fill("")
    page.get_by_label("Gold label").select_option("LOC")
    assert shown(page) == ["news.conll, line 15"]
    page.get_by_label("Model’s label").select_option("none")
    expect(status).to_have_text("0 of 7 sentences shown")

    page.get_by_role("link", name="errors: Missed").click()
    expect(status).to_have_text("2 of 7 sentences shown")
    expect(page.get_by_label("File", exact=True)).to_have_value("")
    page.get_by_role("button", name="Show all").click()
    expect(status).to_have_text("7 of 7 sentences shown")
    page.get_by_role("link", name="errors: Missed").click()  # the same link again
    expect(status).to_have_text("2 of 7 sentences shown")


CSS = (Path(training.reports.error_page.__file__).parent / "templates" / "errors.css").read_text(encoding="utf-8")
LIGHT, DARK = CSS.split("@media screen and (prefers-color-scheme: dark)")


def luminance(colour):
    """Relative luminance of ``#rrggbb`` as WCAG defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("css", [LIGHT, DARK.split("\n}\n")[0]], ids=["light", "dark"])
def test_the_colours_keep_the_contrast_of_wcag_aa(css):
    colours = {
        name + (hue or ""): colour
        for hue, block in re.findall(r"(?::root|\.hue(-\d)) \{(.*?)\}", css, re.DOTALL)
        for name, colour in re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block)
    }
    pairs = [
        *((text, back, 4.5) for text in ("text", "muted", "accent", "fault") for back in ("page", "panel")),
        *(("heat-link", f"heat-{heat}", 4.5) for heat in range(1, 5)),
        *(("on-ink", f"ink-{hue}", 4.5) for hue in range(8)),
        *(("text", f"tint-{hue}", 4.5) for hue in range(8)),
        ("field", "panel", 3),
    ]

    def contrast(one, other):
        darker, lighter = sorted([luminance(colours[one]), luminance(colours[other])])
        return (lighter + 0.05) / (darker + 0.05)

    assert [pair for pair in pairs if contrast(*pair[:2]) < pair[2]] == []


def test_a_page_that_cannot_be_written_is_named(tmp_path, tiny_bundle):
    check_folder(tmp_path / "errors.html")
    with pytest.raises(TrainingError, match=r"missing/errors\.html: expected a file in a folder that exists"):
        check_folder(tmp_path / "missing" / "errors.html")
    with pytest.raises(TrainingError, match=r"expected a file in a folder that exists"):
        check_folder(tmp_path)
    with pytest.raises(TrainingError, match=r"cannot be written: Is a directory"):
        write_error_page(tmp_path, Tagger.load(tiny_bundle), [tagged("news.conll", SENTENCES)], 10)


def test_a_page_is_written_with_the_name_of_the_model(tmp_path, tiny_bundle):
    tagger = Tagger.load(tiny_bundle)

    write_error_page(tmp_path / "errors.html", tagger, [tagged("news.conll", SENTENCES)], 10)

    page = Page((tmp_path / "errors.html").read_text(encoding="utf-8"))
    assert page.texts("h1") == page.texts("title") == ["Errors of tiny 1.0"]
    assert tagger.digest in page.texts("code")
