import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web.pages import EXAMPLE, MAX_MARKS, MAX_ROWS
from web.render import displayable

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;{{ 7*7 }}</textarea></mark>"
MODEL = {"name": "en", "version": "1.0", "digest": "sha256:0"}


def test_the_form_has_a_labelled_textarea_and_a_button(site, read_page):
    reply = site.get("/")
    page = read_page(reply.text)

    assert reply.status_code == 200
    assert page.by_id("text")[0] == "textarea"
    assert any(tag == "label" and attributes["for"] == "text" for tag, attributes in page.elements)
    assert ">Predict</button>" in reply.text
    assert page.textarea == ""
    assert page.alert is None
    assert "select" not in [tag for tag, _ in page.elements]


def test_the_page_has_a_language_landmarks_and_headings_in_order(site, read_page):
    page = read_page(site.post("/predict", data={"text": "Oslo"}).text)
    tags = [tag for tag, _ in page.elements]

    assert page.elements[0] == ("html", {"lang": "en"})
    assert [tag for tag in tags if tag in {"header", "main", "section", "footer"}] == [
        "header", "main", "section", "footer",
    ]  # fmt: skip
    assert [tag for tag in tags if tag in {"h1", "h2", "h3"}] == ["h1", "h2"]
    assert page.by_id("main")[0] == "main"
    assert next(attributes["href"] for tag, attributes in page.elements if tag == "a") == "#main"


def test_the_result_is_highlighted_and_listed(site, read_page):
    reply = site.post("/predict", data={"text": "Barack Obama was born in Hawaii."})
    page = read_page(reply.text)

    assert reply.status_code == 200
    assert page.textarea == "Barack Obama was born in Hawaii."
    assert page.tagged == "Barack Obama was born in Hawaii."
    assert page.marks == [("Barack Obama", "PER"), ("Hawaii", "LOC")]
    assert page.rows == [
        ["Entity", "Label", "Score", "Start", "End"],
        ["Barack Obama", "PER", "99.8 %", "0", "12"],
        ["Hawaii", "LOC", "99.8 %", "25", "31"],
    ]
    assert page.headings[1] == "2 entities found"
    assert page.notes[-1].startswith("Answered by the model en, version 1.0.")


def test_the_result_is_where_the_form_leads_to(site, read_page):
    page = read_page(site.post("/predict", data={"text": "Oslo"}).text)

    assert page.by_id("form")[1]["action"] == "/predict#outcome"
    assert page.by_id("outcome") == ("h2", {"id": "outcome", "tabindex": "-1"})


def test_one_entity_is_not_called_entities(site, read_page):
    assert read_page(site.post("/predict", data={"text": "Oslo"}).text).headings[1] == "1 entity found"


def test_no_entities_are_said_so(site, read_page):
    page = read_page(site.post("/predict", data={"text": "nothing here"}).text)

    assert page.headings[1] == "No entities found"
    assert page.tagged == "nothing here"
    assert page.marks == []
    assert page.rows == []


def test_the_example_works_without_javascript(site, read_page):
    link = next(a["href"] for tag, a in read_page(site.get("/").text).elements if tag == "a" and "example" in a["href"])

    page = read_page(site.get(link).text)

    assert page.textarea == EXAMPLE


def test_a_line_break_of_a_form_is_one_character(upstream, site, read_page):
    page = read_page(site.post("/predict", data={"text": "\r\nOslo\r\n\r\n  Hawaii\rx"}).text)

    assert json.loads(upstream.requests[0][2])["text"] == "\nOslo\n\n  Hawaii\nx"
    assert page.tagged == "\nOslo\n\n  Hawaii\nx"
    assert page.textarea == "\nOslo\n\n  Hawaii\nx"
    assert [row[3:] for row in page.rows[1:]] == [["1", "5"], ["9", "15"]]


def test_characters_a_page_cannot_show_are_replaced_there_only(upstream, site, read_page):
    page = read_page(site.post("/predict", data={"text": "a\0b\x1b Oslo"}).text)

    assert json.loads(upstream.requests[0][2])["text"] == "a\0b\x1b Oslo"
    assert page.tagged == "a�b� Oslo"
    assert page.textarea == "a�b� Oslo"


def test_nothing_of_the_text_becomes_markup(site, read_page):
    reply = site.post("/predict", data={"text": f"{XSS} Oslo"})
    page = read_page(reply.text)

    assert page.tagged == f"{XSS} Oslo"
    assert page.textarea == f"{XSS} Oslo"
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "<script>alert" not in reply.text
    assert "<img src=x" not in reply.text


def test_nothing_of_a_hostile_reply_becomes_markup(upstream, site, read_page):
    entity = {"text": XSS, "label": XSS, "start": 0, "end": len(XSS), "score": 0.5}
    upstream.answer(200, {"model": {"name": XSS, "version": XSS, "digest": XSS}, "entities": [entity]})

    reply = site.post("/predict", data={"text": XSS})
    page = read_page(reply.text)

    assert page.marks == [(XSS, XSS)]
    assert page.rows[1][:2] == [XSS, XSS]
    assert XSS in page.notes[-1]
    assert "<script>alert" not in reply.text
    assert "<img src=x" not in reply.text


def test_nothing_of_a_hostile_rejection_becomes_markup(upstream, site, read_page):
    upstream.answer(400, {"error": {"code": "malformed_request", "message": XSS}})

    reply = site.post("/predict", data={"text": "x"})

    assert reply.status_code == 400
    assert read_page(reply.text).alert == XSS
    assert "<script>alert" not in reply.text


def test_a_reply_that_cannot_be_encoded_is_shown(upstream, site, read_page):
    model = {"name": "\ud800", "version": "\0", "digest": "d"}
    upstream.answer(
        200, {"model": model, "entities": [{"text": "x", "label": "\udfff", "start": 0, "end": 1, "score": 0}]}
    )

    page = read_page(site.post("/predict", data={"text": "x"}).text)

    assert page.marks == [("x", "�")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), words=st.data())
def test_any_text_is_shown_as_it_is(upstream, site, read_page, text, words):
    received = text.replace("\r\n", "\n").replace("\r", "\n")
    start = words.draw(st.integers(0, len(received) - 1))
    end = words.draw(st.integers(start + 1, len(received)))
    entity = {"text": received[start:end], "label": "PER", "start": start, "end": end, "score": 0.5}
    upstream.answer(200, {"model": MODEL, "entities": [entity]})

    reply = site.post("/predict", data={"text": text})
    page = read_page(reply.text)

    assert reply.status_code == 200
    assert json.loads(upstream.requests[-1][2])["text"] == received
    assert page.tagged == displayable(received)
    assert page.textarea == displayable(received)
    assert page.marks == [(displayable(received[start:end]), "PER")]


def test_bytes_that_are_not_utf8_do_no_harm(site, read_page):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    quoted = site.post("/predict", data=b"text=%ED%A0%80+Oslo+%ff", headers=headers)
    raw = site.post("/predict", data=b"text=\xff\xfe", headers=headers)

    assert quoted.status_code == 200
    assert read_page(quoted.text).marks == [("Oslo", "LOC")]
    assert raw.status_code == 400


def test_a_multipart_form_is_read_too(site, read_page):
    reply = site.post("/predict", data={"text": "Oslo"}, content_type="multipart/form-data")

    assert read_page(reply.text).marks == [("Oslo", "LOC")]


def test_a_choice_of_models_appears_when_there_is_one(upstream, make_site, read_page):
    site = make_site(upstream.url, models=("en", "de"))

    page = read_page(site.post("/predict", data={"text": "Oslo", "model": "de"}).text)

    assert upstream.requests[0][0] == "/predictions/de"
    assert page.by_id("model")[0] == "select"
    options = [attributes for tag, attributes in page.elements if tag == "option"]
    assert options == [{}, {"selected": None}]
    assert page.notes[-1].startswith("Answered by the model de")


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({}, 400, "There is no text yet. Please enter one."),
        ({"text": ""}, 400, "There is no text yet. Please enter one."),
        ({"text": " \r\n\t\u3000"}, 400, "There is no text yet. Please enter one."),
        ({"text": "x" * 101}, 413, "The text is too long: it has 101 characters, the limit is 100."),
        ({"text": "x", "model": "fr"}, 404, "There is no such model here. The models are: en."),
        ({"text": "x", "model": ""}, 404, "There is no such model here. The models are: en."),
        ({"text": "x", "model": XSS}, 404, "There is no such model here. The models are: en."),
        (
            {"text": "x" * 1_050_000},
            413,
            "The request is too large: the limit is 1,048,576 bytes.",
        ),
    ],
)
def test_a_wrong_form_is_shown_again_with_the_reason(upstream, make_site, read_page, *, form, status, message):
    reply = make_site(upstream.url, max_chars=100).post("/predict", data=form)
    page = read_page(reply.text)

    assert reply.status_code == status
    assert page.alert == message
    assert page.by_id("outcome")[1]["role"] == "alert"
    assert "outcome" in page.by_id("text")[1]["aria-describedby"].split()
    assert page.by_id("text")[1].get("aria-invalid") == (None if status == 404 else "true")
    assert page.tagged is None
    assert upstream.requests == []


def test_a_text_at_the_limit_is_taken(upstream, make_site):
    site = make_site(upstream.url, max_chars=100)

    assert site.post("/predict", data={"text": "😀" * 100}).status_code == 200
    assert site.post("/predict", data={"text": "\n".join("x" * 50) + "\n"}).status_code == 200


def test_the_text_stays_when_it_is_too_long(upstream, make_site, read_page):
    reply = make_site(upstream.url, max_chars=3).post("/predict", data={"text": "abcd"})

    assert read_page(reply.text).textarea == "abcd"


@pytest.mark.parametrize(
    ("status", "reply", "shown_status", "message"),
    [
        (503, b"", 503, "The model is not ready yet. Please try again in a moment."),
        (404, b"", 503, "The model is not ready yet. Please try again in a moment."),
        (200, b"{}", 502, "The model gave an answer that makes no sense. This is our fault, not that of your text."),
        (413, {"error": {"code": "text_too_long", "message": "Too long for me."}}, 413, "Too long for me."),
        (413, b"", 413, "The request is too large for the model server."),
    ],
)
def test_a_failure_of_the_model_is_explained(upstream, make_site, read_page, *, status, reply, shown_status, message):
    upstream.answer(status, reply)

    shown = make_site(upstream.url, retries=False).post("/predict", data={"text": "Oslo"})
    page = read_page(shown.text)

    assert shown.status_code == shown_status
    assert shown.headers.get("Retry-After") == ("1" if shown_status == 503 else None)
    assert page.alert == message
    assert page.textarea == "Oslo"
    assert page.by_id("text")[1].get("aria-invalid") == (None if shown_status >= 500 else "true")


def test_a_model_that_is_too_slow_is_explained(raw_upstream, make_site, silent, read_page):
    site = make_site(raw_upstream(silent), timeout_s=0.1)

    reply = site.post("/predict", data={"text": "Oslo"})

    page = read_page(reply.text)
    assert reply.status_code == 504
    assert page.alert.startswith("The model took too long to answer.")
    assert "aria-invalid" not in page.by_id("text")[1]


def test_the_address_of_a_result_leads_to_the_form(site):
    reply = site.get("/predict")

    assert (reply.status_code, reply.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(
    ("method", "path", "status", "heading"),
    [
        ("GET", "/nowhere", 404, "Page not found"),
        ("GET", "/static/nowhere.css", 404, "Page not found"),
        ("GET", f"/{XSS}", 404, "Page not found"),
        ("DELETE", "/predict", 405, "Not possible here"),
    ],
)
def test_other_failures_have_a_page(site, read_page, *, method, path, status, heading):
    reply = site.open(path, method=method)
    page = read_page(reply.text)

    assert reply.status_code == status
    assert reply.mimetype == "text/html"
    assert page.headings == [heading]
    assert "<script>alert" not in reply.text
    assert ("Allow" in reply.headers) == (status == 405)


def test_an_unusual_failure_has_a_page_too(site, read_page):
    path = next(a["href"] for tag, a in read_page(site.get("/").text).elements if a.get("rel") == "stylesheet")

    reply = site.get(path, headers={"Range": "bytes=9999999-"})

    assert reply.status_code == 416
    assert read_page(reply.text).headings == ["Requested Range Not Satisfiable"]


def test_no_text_is_logged(upstream, site, caplog):
    caplog.set_level(logging.DEBUG)
    upstream.answer(200, b"nonsense")

    site.post("/predict", data={"text": "Attack at dawn"})

    assert caplog.records
    assert "Attack" not in caplog.text


def test_a_long_result_is_shown_in_part_and_says_so(upstream, site, read_page):
    text = "Oslo " * (MAX_MARKS + 1)
    reply = site.post("/predict", data={"text": text})
    page = read_page(reply.text)

    assert reply.status_code == 200
    assert page.headings[1] == "10,001 entities found"
    assert page.tagged == text
    assert len(page.marks) == MAX_MARKS
    assert len(page.rows) == 1 + MAX_ROWS
    assert "The table has the first 1,000 of them and the text marks the first 10,000; programs get all." in page.notes


def test_a_table_that_is_cut_says_so(site, read_page):
    page = read_page(site.post("/predict", data={"text": "Oslo " * (MAX_ROWS + 1)}).text)

    assert len(page.marks) == MAX_ROWS + 1
    assert "The table has the first 1,000 of them; programs get all." in page.notes


def test_the_longest_text_that_is_allowed_works_however_it_is_encoded(upstream, site, read_page):
    reply = site.post("/predict", data={"text": "😀" * 100_000})

    assert reply.status_code == 200
    assert read_page(reply.text).tagged == "😀" * 100_000


def test_a_compressed_form_is_refused(site, read_page):
    reply = site.post("/predict", data={"text": "x"}, headers={"Content-Encoding": "gzip"})

    assert reply.status_code == 415
    assert read_page(reply.text).alert == "Expected no Content-Encoding but identity."


def test_json_is_no_form(site, upstream, read_page):
    reply = site.post("/predict", data='{"text": "Oslo"}', content_type="application/x-www-form-urlencoded")

    assert reply.status_code == 400
    assert read_page(reply.text).alert == "Expected a form, got JSON; programs send it to /api/predict."
    assert upstream.requests == []


def test_a_form_of_very_many_fields_is_not_taken_apart(site, upstream):
    reply = site.post("/predict", data="text=Oslo" + "&a=b" * 1_001, content_type="application/x-www-form-urlencoded")

    assert reply.status_code == 400
    assert "at most 1000 fields" in reply.text
    assert upstream.requests == []
