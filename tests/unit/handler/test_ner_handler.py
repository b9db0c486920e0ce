"""The TorchServe adapter: three request forms, one status a row, neighbours untouched."""

import json
import re
import shutil
import time

import pytest

from contract.errors import SettingError
from contract.limits import MAX_TEXTS
from handler.errors import BundleError
from handler.ner_handler import NERHandler

TEXT = "Obama saw Paris. The apple, Apple!"
JSON = {"content-type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


class FakeContext:
    """As much of TorchServe's context as the handler uses."""

    metrics = None

    def __init__(self, folder, headers=()):
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"modelName": "tiny", "modelVersion": "1.0"}}
        self.model_name = "tiny"
        self.headers = headers
        self.statuses = {}
        self.content_types = {}
        self.response_headers = {}

    def get_request_id(self, i):
        return f"of-torchserve-{i}"

    def get_all_request_header(self, i):
        return self.headers[i]

    def set_response_status(self, code, phrase, i):
        phrase.encode("ascii")  # TorchServe counts its characters, and sends its bytes
        self.statuses[i] = code

    def set_response_content_type(self, i, value):
        self.content_types[i] = value

    def set_response_header(self, i, name, value):
        self.response_headers[i] = {name: value}


@pytest.fixture(scope="module")
def model_dir(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.copytree(tiny_bundle, folder / "bundle")
    return folder


@pytest.fixture(scope="module")
def handler(model_dir):
    handler = NERHandler()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NERSERVE_MAX_CHARS", "200")
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
        (bytearray(TEXT.encode()), {"content-length": "34"}),
        (TEXT.encode(), {"content-type": "TEXT/PLAIN"}),
        (as_json({"text": TEXT}), {"CONTENT-TYPE": "application/json; charset=UTF-8"}),
        ({"body": TEXT.encode(), "query": b"x"}, PLAIN),
        (
            TEXT.encode(),
            PLAIN | {"describe": "True", "Explain": "True", "explain": "False", "body": {"content-type": "text/plain"}},
        ),
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
    assert re.match("Expected |.*, the limit is ", bad[1]["error"]["message"])


def test_other_parts_and_an_empty_request_are_told_what_is_expected(handler, model_dir):
    context = FakeContext(model_dir, [{"content-type": "application/x-www-form-urlencoded"}, {}])

    replies = [json.loads(reply) for reply in handler.handle([{"txt": b"Obama"}, {}], context)]

    assert context.statuses == {0: 415, 1: 415}
    assert all("one part named text, json, data or body" in reply["error"]["message"] for reply in replies)


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


FORMS = {
    "plain": ({"body": TEXT.encode()}, PLAIN),
    "text": ({"body": as_json({"text": TEXT})}, JSON),
    "texts": ({"body": as_json({"texts": [TEXT, "", 7]})}, JSON),
    "form": ({"text": TEXT.encode()}, {"content-type": "application/x-www-form-urlencoded"}),
    "grpc": ({"json": as_json({"text": TEXT})}, {}),
    "v1": ({"body": as_json({"instances": [TEXT, {"text": ""}, 7]})}, JSON),
    "v2": (
        {
            "body": as_json(
                {
                    "id": "42",
                    "inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": [TEXT, "", 7]}],
                }
            )
        },
        JSON,
    ),
}


@pytest.fixture
def ask_in_one_batch(handler, model_dir):
    """``ask_in_one_batch([(row, headers), ...])`` -> (status, reply) of each."""

    def ask(requests):
        context = FakeContext(model_dir, [headers for _, headers in requests])
        replies = handler.handle([row for row, _ in requests], context)
        return [(context.statuses.get(i, 200), json.loads(reply)) for i, reply in enumerate(replies)]

    return ask


def results_in(name, reply):
    """The results in a *reply*, however its protocol carries them."""
    if name == "v1":
        return reply["predictions"]
    if name == "v2":
        (tensor,) = reply["outputs"]
        assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("entities", [3], "BYTES")
        return [json.loads(item) for item in tensor["data"]]
    return reply["results"] if name == "texts" else [{"entities": reply["entities"]}]


def test_any_mixture_of_forms_in_one_batch_gives_the_same_results(ask_in_one_batch):
    expected = ask_in_one_batch([FORMS["plain"]])[0][1]["entities"]
    bad = ({"body": b"{"}, JSON)

    answers = ask_in_one_batch([bad, *FORMS.values(), bad])

    assert expected
    assert [status for status, _ in answers] == [400, *[200] * len(FORMS), 400]
    for name, (_, reply) in zip(FORMS, answers[1:-1], strict=True):
        first, *others = results_in(name, reply)
        assert first == {"entities": expected}
        if others:
            assert others[0] == {"entities": []}
            assert others[1]["error"]["code"] == "malformed_request"


def test_replies_of_the_protocols_name_the_model_as_theirs_do(ask_in_one_batch):
    (_, plain), (_, v1), (_, v2) = ask_in_one_batch([FORMS["plain"], FORMS["v1"], FORMS["v2"]])

    assert v1.keys() == {"model", "predictions"}
    assert v1["model"] == plain["model"]
    assert v2.keys() == {"id", "model_name", "model_version", "parameters", "outputs"}
    assert (v2["id"], v2["model_name"], v2["model_version"]) == ("42", "tiny", "1.0")
    assert v2["parameters"] == {"digest": plain["model"]["digest"]}


def test_an_open_inference_reply_has_an_id_only_if_the_request_had_one(ask):
    document = {"inputs": [{"name": "x", "shape": [0], "datatype": "BYTES", "data": []}]}

    ((status, reply),) = ask((as_json(document), JSON))

    assert (status, reply["outputs"][0]["data"], "id" in reply) == (200, [], False)


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_the_error_of_a_protocols_request_is_one_string(ask, key):
    ((status, reply),) = ask((as_json({key: 7}), JSON))

    assert status == 400
    assert reply.keys() == {"error"}
    assert reply["error"].startswith("malformed_request: Expected a list of")


def test_options_choose_entities_and_the_unit_of_offsets(ask):
    text = "😀 " + TEXT
    ((_, everything),) = ask((as_json({"text": text}), JSON))
    entities = everything["entities"]
    label = entities[0]["label"]
    threshold = sorted(entity["score"] for entity in entities)[1]

    ((_, labelled), (_, likely), (_, in_utf16)) = ask(
        (as_json({"text": text, "labels": [label]}), JSON),
        (as_json({"text": text, "threshold": threshold}), JSON),
        (as_json({"text": text, "offsets": "utf16"}), JSON),
    )

    assert labelled["entities"] == [entity for entity in entities if entity["label"] == label]
    assert likely["entities"] == [entity for entity in entities if entity["score"] >= threshold]
    assert len(likely["entities"]) == len(entities) - 1
    encoded = text.encode("utf-16-le")
    for entity, same in zip(entities, in_utf16["entities"], strict=True):
        assert encoded[2 * same["start"] : 2 * same["end"]].decode("utf-16-le") == entity["text"]


def test_a_label_that_the_model_does_not_know_is_told_those_that_it_does(ask):
    ((status, reply),) = ask((as_json({"text": TEXT, "labels": ["ORG"]}), JSON))

    assert (status, reply["error"]["code"]) == (422, "invalid_option")
    assert "LOC, PER" in reply["error"]["message"]


EXPLAIN = {"explain": "True"}


def without_tokens(entities):
    return [{key: value for key, value in entity.items() if key != "tokens"} for entity in entities]


def test_explanations_are_the_entities_and_what_each_token_of_the_sentence_weighs(ask):
    ((_, plain), (status, reply), neighbour) = ask(
        (TEXT.encode(), PLAIN), (TEXT.encode(), PLAIN | EXPLAIN), (TEXT.encode(), PLAIN)
    )

    assert status == 200
    assert without_tokens(reply["entities"]) == plain["entities"] == neighbour[1]["entities"]
    for entity in reply["entities"]:
        assert [TEXT[token["start"] : token["end"]] for token in entity["tokens"]] == [
            token["text"] for token in entity["tokens"]
        ]
        assert any(token["start"] == entity["start"] for token in entity["tokens"])
        assert any(token["weight"] != 0 for token in entity["tokens"])


def test_explanations_in_every_form_are_the_same(ask_in_one_batch):
    explained = {name: (row, headers | EXPLAIN) for name, (row, headers) in FORMS.items()}

    answers = dict(zip(FORMS, ask_in_one_batch(list(explained.values())), strict=True))

    expected = answers["plain"][1]["entities"]
    assert all(entity["tokens"] for entity in expected)
    for name, (status, reply) in answers.items():
        assert status == 200
        results = reply["explanations"] if name == "v1" else results_in(name, reply)
        assert results[0]["entities"] == expected
    v1 = answers["v1"][1]
    assert v1["predictions"][0]["entities"] == without_tokens(expected)
    assert v1["predictions"][2]["error"]["code"] == "malformed_request"


def test_the_places_of_tokens_are_in_the_unit_asked_for_too(ask):
    text = "😀 " + TEXT
    ((_, reply),) = ask((as_json({"text": text, "offsets": "utf8"}), JSON | EXPLAIN))

    tokens = [token for entity in reply["entities"] for token in entity["tokens"]]
    assert tokens
    assert all(text.encode()[token["start"] : token["end"]].decode() == token["text"] for token in tokens)


@pytest.mark.parametrize("form", ["plain", "v1", "v2"])
def test_a_request_that_comes_to_its_turn_too_late_gets_no_work(ask_in_one_batch, form):
    row, headers = FORMS[form]
    past, future = str(time.time() - 0.01), str(time.time() + 60)

    (late, reply), (status, _) = ask_in_one_batch(
        [(row, headers | {"X-Request-Deadline": past}), (row, headers | {"x-request-deadline": future})]
    )

    assert (late, reply["error"]["code"], status) == (504, "deadline_exceeded", 200)


def test_what_a_batch_cannot_take_may_come_again(model_dir, monkeypatch):
    monkeypatch.delenv("NERSERVE_MAX_CHARS", raising=False)
    handler = NERHandler()
    handler.initialize(FakeContext(model_dir))
    context = FakeContext(model_dir, [PLAIN] * 4)

    *answered, refused = [json.loads(reply) for reply in handler.handle([{"body": b"a" * 100_000}] * 4, context)]

    assert all("entities" in reply for reply in answered)
    assert refused["error"]["code"] == "overloaded"
    assert context.statuses == {3: 503}
    assert context.response_headers == {3: {"Retry-After": "1"}}


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
    assert reply["entities"]
    assert all("Obama \ud800 Paris \udc00"[e["start"] : e["end"]] == e["text"] for e in reply["entities"])


def test_a_grpc_call_is_told_that_nothing_more_comes(handler, model_dir):
    context = FakeContext(model_dir, [{"text": {"content-type": ""}}, {"host": "x"} | PLAIN])

    handler.handle([{"text": b"Obama"}, {"body": b"Obama"}], context)

    assert context.response_headers == {0: {"ts_stream_next": "false"}}


def test_an_empty_batch_is_answered_with_nothing(handler, model_dir):
    assert handler.handle([], FakeContext(model_dir)) == []


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("NERSERVE_MAX_CHARS", "NERSERVE_MAX_CHARS: expected .* to 1000000, got 'lots'"),
        ("NERSERVE_MAX_CHAR", "NERSERVE_MAX_CHAR: unknown setting; the nearest known one is NERSERVE_MAX_CHARS"),
    ],
)
def test_a_worker_does_not_start_on_a_wrong_setting(model_dir, monkeypatch, variable, problem):
    monkeypatch.setenv(variable, "lots")

    with pytest.raises(SettingError, match=problem):
        NERHandler().initialize(FakeContext(model_dir))


def test_a_worker_does_not_start_on_a_bundle_that_is_damaged(model_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "damaged")
    (folder / "bundle" / "vocab.json").unlink()

    with pytest.raises(BundleError, match=r"vocab\.json: missing"):
        NERHandler().initialize(FakeContext(folder))


def test_no_batch_is_worked_on_until_torchserve_kills_the_worker(model_dir):
    handler, context = NERHandler(), FakeContext(model_dir, [PLAIN])
    context.model_yaml_config = {"responseTimeout": 1e-9}

    handler.initialize(context)
    (reply,) = handler.handle([{"body": TEXT.encode()}], context)

    assert (context.statuses, json.loads(reply)["error"]["code"]) == ({0: 504}, "deadline_exceeded")
