"""What programs get: three request forms on TorchServe's own port, and the site's JSON API."""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

TEXT = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES = [
    ("Barack Obama", "PER", 0, 12),
    ("Hawaii", "LOC", 25, 31),
    ("United Nations", "ORG", 51, 65),
    ("New York", "LOC", 69, 77),
]
JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


def spans(entities):
    return [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in entities]


@pytest.fixture(params=["inference", "site"])
def url(request, served):
    """Both ways in for programs; they share the contract."""
    return {"inference": f"{served.inference}/predictions/en", "site": f"{served.site}/api/predict"}[request.param]


@pytest.fixture
def post(served):
    """``requests.post`` with the inference key, which the site does not need."""
    return partial(requests.post, auth=served.inference_key)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (TEXT.encode(), PLAIN),
        (json.dumps({"text": TEXT}).encode(), JSON),
        (json.dumps({"texts": [TEXT]}).encode(), JSON),
    ],
    ids=["text/plain", "text", "texts"],
)
def test_the_canary_sentence_gives_its_four_entities(post, url, body, headers):
    reply = post(url, data=body, headers=headers, timeout=120)

    assert reply.status_code == 200
    document = reply.json()
    assert document["model"]["name"] == "en"
    assert document["model"]["digest"].startswith("sha256:")
    (result,) = document.get("results", [document])
    assert spans(result["entities"]) == ENTITIES


@pytest.mark.parametrize(
    "text",
    [
        "👨‍👩‍👧 Angela Merkel visited 東京 and Müu\u0308nchen.\r\n\r\nŁódź, Poland",
        'He said "Barack Obama" <b>in</b> Paris & \u202eLondon\u202c',
        "Obama\u0000 in\u00a0Berlin\u2028Rome \ud800 Kofi Annan",
    ],
)
def test_offsets_count_code_points_of_the_text_as_sent(post, url, text):
    reply = post(url, data=json.dumps({"text": text}).encode(), headers=JSON, timeout=120).json()

    assert reply["entities"]
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in reply["entities"])


any_text = st.text(
    st.one_of(st.characters(), st.sampled_from("Obama in New York. \n\t\x00\u200d\u0301\ud800😀日本")),
    max_size=120,
)


def test_a_thousand_texts_of_any_unicode_are_answered_exactly(served):
    session = requests.Session()
    session.auth = served.inference_key
    answered = []

    @settings(
        max_examples=1000,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(any_text)
    def ask(text):
        body = json.dumps({"text": text}).encode()
        reply = session.post(f"{served.inference}/predictions/en", data=body, headers=JSON, timeout=120)
        assert reply.status_code == 200
        for entity in reply.json()["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
        answered.append(text)

    ask()

    assert len(answered) >= 1000


BAD = [
    (b"{", JSON, 400),
    (b"\xff\xfe", PLAIN, 400),
    (b'{"text": 1}', JSON, 400),
    (json.dumps({"text": "a" * 100_001}).encode(), JSON, 413),
    (b"<a/>", {"Content-Type": "application/xml"}, 415),
    (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
]


def test_bad_requests_among_good_ones_leave_the_good_answers_byte_identical(served, post):
    url = f"{served.inference}/predictions/en"
    texts = [TEXT, "Angela Merkel flew to Paris.", "Nothing here", "IBM and Apple Inc. met in Bonn. " * 20]
    alone = [post(url, data=text.encode(), headers=PLAIN, timeout=120).content for text in texts]
    start = threading.Barrier(16)

    def good(number):
        start.wait()
        replies = []
        for i in range(40):
            which = (number + i) % len(texts)
            reply = post(url, data=texts[which].encode(), headers=PLAIN, timeout=120)
            replies.append(reply.content == alone[which])
        return replies

    def bad(number):
        start.wait()
        statuses = []
        for i in range(40):
            body, headers, status = BAD[(number + i) % len(BAD)]
            statuses.append(post(url, data=body, headers=headers, timeout=120).status_code == status)
        return statuses

    with ThreadPoolExecutor(16) as pool:
        outcomes = [pool.submit(good if number % 2 else bad, number) for number in range(16)]
        results = [result for outcome in outcomes for result in outcome.result()]

    assert len(results) == 16 * 40
    assert all(results)


def test_a_bad_text_among_texts_leaves_the_others_as_they_are_alone(post, url):
    texts = [TEXT, "a" * 100_001, "Angela Merkel flew to Paris.", ""]
    alone = [post(url, data=json.dumps({"text": text}).encode(), headers=JSON, timeout=120).json() for text in texts]

    reply = post(url, data=json.dumps({"texts": texts}).encode(), headers=JSON, timeout=120)

    assert reply.status_code == 200
    results = reply.json()["results"]
    assert [result.get("entities") for result in results] == [one.get("entities") for one in alone]
    assert results[1]["error"]["code"] == "text_too_long"


def test_every_text_has_one_answer_alone_and_among_others(served, post):
    url = f"{served.inference}/predictions/en"
    texts = [
        f"{name} of {place} wrote to {name}." for name in ("Ann Lee", "NATO", "x") for place in ("Oslo", "a b", "U.K.")
    ]
    alone = [post(url, json={"text": text}, timeout=120).json()["entities"] for text in texts]

    for batch in (texts, texts[::-1], texts * 10):
        results = post(url, json={"texts": batch}, timeout=120).json()["results"]
        assert [result["entities"] for result in results] == [alone[texts.index(text)] for text in batch]


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/readyz", 200), ("/", 200), ("/nowhere", 404), ("/static/site.css", 200)]
)
def test_the_site_says_how_it_is(served, path, status):
    reply = requests.get(served.site + path, timeout=120)

    assert reply.status_code == status
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


def test_no_registration_reaches_the_server_from_a_url(served):
    reply = requests.post(
        f"{served.management}/models",
        params={"url": "http://127.0.0.1:9/evil.mar"},
        auth=served.management_key,
        timeout=120,
    )

    assert reply.status_code in {403, 404, 405}


def test_logs_hold_no_text_of_a_request(served):
    private, marks = "Xenophanesia", [f"test-{uuid.uuid4()}" for _ in range(5)]
    bodies = [
        (f"{private} lives in Paris".encode(), PLAIN),
        (json.dumps({"text": f"{private} lives"}).encode(), JSON),
        (f'{{"text": {private}'.encode(), JSON),
        (f"{private} ".encode() * 2000, PLAIN),
        (private.encode() + b"\xff", PLAIN),
    ]
    for (body, headers), mark in zip(bodies, marks, strict=True):
        marked = headers | {"X-Request-Id": mark}
        requests.post(
            f"{served.inference}/predictions/en", data=body, headers=marked, auth=served.inference_key, timeout=120
        )
        requests.post(f"{served.site}/api/predict", data=body, headers=headers, timeout=120)
    requests.post(f"{served.site}/predict", data={"text": private}, timeout=120)
    deadline_s = time.monotonic() + 60
    while not all(mark in (served.log_dir / "logs" / "model_log.log").read_text() for mark in marks):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)

    logs = [path for path in served.log_dir.rglob("*") if path.is_file() and path.suffix in {".log", ".out", ""}]
    assert logs
    assert [path.name for path in logs if private.encode() in path.read_bytes()] == []


def test_torchserve_counts_requests_for_prometheus(served):
    requests.post(
        f"{served.inference}/predictions/en", data=TEXT.encode(), headers=PLAIN, auth=served.inference_key, timeout=120
    )

    assert 'ts_inference_requests_total{model_name="en"' in requests.get(f"{served.metrics}/metrics", timeout=120).text


FIRST, SECOND = "Nadia Quist sings. ", "The crowd loved Quist."


def site_json(served, post, option):
    return post(f"{served.site}/api/predict", json={"text": FIRST + SECOND, **option}, timeout=60).json()["entities"]


def site_query(served, post, option):
    reply = post(f"{served.site}/api/predict", params=option, data=FIRST + SECOND, headers=PLAIN, timeout=60)
    return reply.json()["entities"]


def site_form(served, post, option):
    reply = post(f"{served.site}/api/predict", data={"text": FIRST + SECOND, **option}, timeout=60)
    return reply.json()["entities"]


def site_stream(served, post, option):
    line, headers = json.dumps({"text": FIRST + SECOND}), {"Content-Type": "application/x-ndjson"}
    reply = post(f"{served.site}/api/predict", params=option, data=line, headers=headers, timeout=60)
    return json.loads(reply.text)["entities"]


def port_json(served, post, option):
    reply = post(f"{served.inference}/predictions/en", json={"text": FIRST + SECOND, **option}, timeout=60)
    return reply.json()["entities"]


def kserve_v1(served, post, option):
    url = f"{served.inference}/v1/models/en:predict"
    return post(url, json={"instances": [FIRST + SECOND], **option}, timeout=60).json()["predictions"][0]["entities"]


def kserve_v2(served, post, option):
    texts = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [FIRST + SECOND]}
    body = {"inputs": [texts], "parameters": option}
    reply = post(f"{served.inference}/v2/models/en/infer", json=body, timeout=60).json()
    return json.loads(reply["outputs"][0]["data"][0])["entities"]


WAYS_IN = [site_json, site_query, site_form, site_stream, port_json, kserve_v1, kserve_v2]


@pytest.mark.parametrize("ask", WAYS_IN, ids=[way.__name__ for way in WAYS_IN])
def test_the_rest_of_a_text_counts_unless_a_request_wants_each_sentence_by_itself(served, post, ask):
    parts = [post(f"{served.inference}/predictions/en", json={"text": part}, timeout=60) for part in (FIRST, SECOND)]
    first, second = (part.json()["entities"] for part in parts)
    apart = [*first, *({**one, "start": len(FIRST) + one["start"], "end": len(FIRST) + one["end"]} for one in second)]

    by_sentence, by_text = ask(served, post, {"context": "sentence"}), ask(served, post, {"context": "document"})

    assert by_sentence == apart
    assert ask(served, post, {}) == by_text
    assert [one["text"] for one in by_text] == ["Nadia Quist", "Quist"]
    assert by_text[1]["score"] > by_sentence[1]["score"]
