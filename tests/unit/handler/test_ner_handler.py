"""The TorchServe adapter: three request forms, one status a row, neighbours untouched."""

import json
import shutil

import pytest

from handler.errors import BundleError
from handler.ner_handler import NERHandler
from handler.requests import MAX_REQUEST_CHARS, MAX_TEXTS

TEXT = "Obama saw Paris. The apple, Apple!"
JSON = {"content-type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


class FakeContext:
    """As much of TorchServe's context as the handler uses."""

    def __init__(self, folder, headers=()):
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"modelName": "tiny", "modelVersion": "1.0"}}
        self.model_name = "tiny"
        self.headers = headers
        self.statuses = {}
        self.content_types = {}

    def get_all_request_header(self, i):
        return self.headers[i]

    def set_response_status(self, code, phrase, i):
        phrase.encode("ascii")  # TorchServe counts its characters, and sends its bytes
        self.statuses[i] = code

    def set_response_content_type(self, i, value):
        self.content_types[i] = value


@pytest.fixture(scope="module")
def model_dir(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.copytree(tiny_bundle, folder / "bundle")
    return folder


@pytest.fixture(scope="module")
def handler(model_dir):
    handler = NERHandler()
    handler.initialize(FakeContext(model_dir))
    return handler


@pytest.fixture
def ask(handler, model_dir):
    """``ask((body, headers), ...)`` -> (status, reply) of each request, answered in one batch."""

    def ask(*requests):
        context = FakeContext(model_dir, [headers for _, headers in requests])
        rows = [{"body": body} if not isinstance(body, dict) or "body" not in body else body for body, _ in requests]
        replies = handler.handle(rows, context)
        assert context.content_types == dict.fromkeys(range(len(rows)), "application/json")
        return [(context.statuses.get(i, 200), json.loads(reply)) for i, reply in enumerate(replies)]

    return ask


def as_json(document):
    return json.dumps(document).encode()


def test_all_three_request_forms_give_the_same_entities(ask):
    plain, one, many = ask(
        (TEXT.encode(), PLAIN), (as_json({"text": TEXT}), JSON), (as_json({"texts": ["", TEXT]}), JSON)
    )

    status, reply = plain
    assert (status, reply["model"]["name"], reply["model"]["version"]) == (200, "tiny", "1.0")
    assert reply["model"]["digest"].startswith("sha256:")
    assert reply["entities"]
    assert one == plain
    assert many == (200, {"model": reply["model"], "results": [{"entities": []}, {"entities": reply["entities"]}]})
    for entity in reply["entities"]:
        assert set(entity) == {"text", "label", "start", "end", "score"}
        assert TEXT[entity["start"] : entity["end"]] == entity["text"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (TEXT, PLAIN),  # what TorchServe's decode_input_request=true makes of it
        ({"text": TEXT}, JSON),
        (bytearray(TEXT.encode()), {}),
        (TEXT.encode(), {"content-type": "TEXT/PLAIN"}),
        (as_json({"text": TEXT}), {"CONTENT-TYPE": "application/json; charset=UTF-8"}),
        ({"body": TEXT.encode(), "query": b"x"}, PLAIN),
        (TEXT.encode(), PLAIN | {"describe": "True", "explain": "True", "body": {"content-type": "text/plain"}}),
    ],
)
def test_every_way_to_say_the_same_gets_the_same_answer(ask, body, headers):
    assert ask((body, headers)) == ask((TEXT.encode(), PLAIN))


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "malformed_request"),
        (b"[" * 100_000, JSON, 400, "malformed_request"),
        (b"9" * 10_000, JSON, 400, "malformed_request"),
        (b"NaN", JSON, 400, "malformed_request"),
        (b'"text"', JSON, 400, "malformed_request"),
        (b"null", JSON, 400, "malformed_request"),
        (b"[]", JSON, 400, "malformed_request"),
        (b"{}", JSON, 400, "malformed_request"),
        (b'{"txt": "a"}', JSON, 400, "malformed_request"),
        (b'{"text": "a", "texts": []}', JSON, 400, "malformed_request"),
        (b'{"text": 1}', JSON, 400, "malformed_request"),
        (b'{"text": null}', JSON, 400, "malformed_request"),
        (b'{"texts": "a"}', JSON, 400, "malformed_request"),
        (b"\xff\xfe", JSON, 400, "malformed_request"),
        (b"caf\xe9", PLAIN, 400, "malformed_request"),
        ("text decoded from JSON", JSON, 400, "malformed_request"),
        (["a"], JSON, 400, "malformed_request"),
        (b"a" * 201, PLAIN, 413, "text_too_long"),
        (as_json({"text": "a" * 201}), JSON, 413, "text_too_long"),
        (as_json({"texts": ["a"] * (MAX_TEXTS + 1)}), JSON, 413, "request_too_large"),
        (b"a", {"content-type": "application/xml"}, 415, "unsupported_media_type"),
        (b"a", {"content-type": "text/plain; charset=latin-1"}, 415, "unsupported_media_type"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_request_gets_its_own_status_and_leaves_its_neighbours_alone(ask, body, headers, status, code):
    good = (TEXT.encode(), PLAIN)
    (expected,) = ask(good)

    before, bad, after = ask(good, (body, headers), good)

    assert before == after == expected
    assert bad[0] == status
    assert set(bad[1]) == {"error"}
    assert bad[1]["error"]["code"] == code
    assert bad[1]["error"]["message"].startswith("expected")


def test_a_form_or_an_empty_request_is_told_what_is_expected(handler, model_dir):
    context = FakeContext(model_dir, [{"content-type": "application/x-www-form-urlencoded"}, {}])

    replies = [json.loads(reply) for reply in handler.handle([{"text": b"Obama"}, {}], context)]

    assert context.statuses == {0: 415, 1: 415}
    assert all("expected a text/plain body" in reply["error"]["message"] for reply in replies)


def test_texts_carry_their_errors_in_place(ask):
    ((_, single),) = ask((as_json({"text": TEXT}), JSON))

    ((status, reply),) = ask((as_json({"texts": [TEXT, 7, "a" * 201, TEXT, None]}), JSON))

    assert status == 200
    assert [sorted(result) for result in reply["results"]] == [
        ["entities"], ["error"], ["error"], ["entities"], ["error"],
    ]  # fmt: skip
    assert reply["results"][0] == reply["results"][3] == {"entities": single["entities"]}
    assert [reply["results"][i]["error"]["code"] for i in (1, 2, 4)] == [
        "malformed_request", "text_too_long", "malformed_request",
    ]  # fmt: skip


def test_no_texts_give_no_results(ask):
    ((status, reply),) = ask((b'{"texts": []}', JSON))

    assert (status, reply["results"]) == (200, [])


def test_the_characters_of_a_request_are_bounded(ask):
    texts = ["a" * 200] * (MAX_TEXTS - 1)  # below the limit for this model's short texts
    assert len("".join(texts)) < MAX_REQUEST_CHARS

    ((status, reply),) = ask((as_json({"texts": texts}), JSON))

    assert (status, len(reply["results"])) == (200, MAX_TEXTS - 1)


def test_a_message_holds_no_user_text(ask):
    private = "Xenophanes"

    answers = ask(
        (as_json({private: private}), JSON),
        (f'{{"text": {private}'.encode(), JSON),
        (private.encode() * 50, PLAIN),
        (as_json({"texts": [[private]]}), JSON),
        (private.encode(), {"content-type": f"text/{private}"}),
    )

    assert all(private.lower() not in json.dumps(reply).lower() for _, reply in answers)


def test_a_lone_surrogate_arrives_and_leaves_as_it_is(ask):
    text = b'{"text": "Obama \\ud800 Paris \\udc00"}'

    ((status, reply),) = ask((text, JSON))

    assert status == 200
    assert all("Obama \ud800 Paris \udc00"[e["start"] : e["end"]] == e["text"] for e in reply["entities"])


def test_an_empty_batch_is_answered_with_nothing(handler, model_dir):
    assert handler.handle([], FakeContext(model_dir)) == []


def test_a_worker_does_not_start_on_a_bundle_that_is_damaged(model_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "damaged")
    (folder / "bundle" / "vocab.json").unlink()

    with pytest.raises(BundleError, match=r"vocab\.json: missing"):
        NERHandler().initialize(FakeContext(folder))
