"""The archive on a stock TorchServe: a virtual environment without us, TorchServe's own launcher and its defaults."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from urllib.parse import urlencode, urljoin

import psutil
import pytest
import requests

from ops.process.java import find_java

pytestmark = pytest.mark.timeout(1500)

TEXT = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES = [
    ("Barack Obama", "PER", 0, 12),
    ("Hawaii", "LOC", 25, 31),
    ("United Nations", "ORG", 51, 65),
    ("New York", "LOC", 69, 77),
]


@pytest.fixture(scope="module")
def stock_python(tmp_path_factory):
    """The Python of a new virtual environment with torch, torchserve and what they need; nothing of ours."""
    folder = tmp_path_factory.mktemp("stock") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    index = os.environ.get("NERSERVE_TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    torch = [*pip, "--retries", "2", "-r", "requirements/torch.txt"]
    subprocess.run([*torch, *(["--index-url", index] if index else [])], check=True)
    subprocess.run([*pip, "--require-hashes", "-r", "requirements/serve.txt"], check=True)
    return python


@pytest.fixture(scope="module")
def stock_output(tmp_path_factory):
    """The file with all that the server prints."""
    return tmp_path_factory.mktemp("server") / "output"


@pytest.fixture(scope="module")
def stock_server(stock_python, en_mar, stock_output):
    """The prediction URL of en.mar on a TorchServe that ``torchserve --start`` started."""
    folder = stock_output.parent
    sockets = [socket.socket() for _ in range(5)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    inference, management, metrics, *grpc = (one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    (folder / "ports.properties").write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n"
    )
    (folder / "tmp").mkdir()
    java = find_java(os.environ).path
    environment = {
        "PATH": os.defpath,
        "JAVA_HOME": str(java.parent.parent),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
    }
    command = [
        *(stock_python.parent / "torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth"),
        *("--ts-config", "ports.properties", "--model-store", en_mar.parent, "--models", f"en={en_mar.name}"),
    ]
    with stock_output.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{inference}/predictions/en"
        wait_for_answer(url, process, stock_output)
        yield url
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            member.kill()
        process.wait()


def wait_for_answer(url, process, output, timeout_s=300):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.post(url, json={"text": "ready?"}, timeout=60).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.3)
    raise AssertionError(f"no answer within {timeout_s} s:\n{output.read_text(errors='replace')[-4000:]}")


def spans(entities):
    return [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in entities]


def test_the_environment_holds_nothing_of_ours(stock_python, tmp_path):
    ours = "contract handler archive web training gensim flask"
    code = f"import importlib.util as u; print([name for name in '{ours}'.split() if u.find_spec(name)])"

    found = subprocess.run([stock_python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("body", "content_type", "entities_of"),
    [
        (TEXT.encode(), "text/plain", lambda reply: reply["entities"]),
        (TEXT.encode(), None, lambda reply: reply["entities"]),
        (json.dumps({"text": TEXT}).encode(), "application/json", lambda reply: reply["entities"]),
        (json.dumps({"texts": ["", TEXT]}).encode(), "application/json", lambda reply: reply["results"][1]["entities"]),
        (urlencode({"text": TEXT}).encode(), "application/x-www-form-urlencoded", lambda reply: reply["entities"]),
        (
            urlencode({"json": json.dumps({"texts": [TEXT]})}).encode(),
            "application/x-www-form-urlencoded",
            lambda reply: reply["results"][0]["entities"],
        ),
    ],
)
def test_every_request_form_gives_the_entities_with_exact_offsets(stock_server, body, content_type, entities_of):
    reply = requests.post(stock_server, data=body, headers={"Content-Type": content_type}, timeout=60)

    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    entities = entities_of(reply.json())
    assert spans(entities) == ENTITIES
    assert all(0.5 < entity["score"] <= 1 for entity in entities)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_request"),
        (b"caf\xe9", "text/plain", 400, "malformed_request"),
        (b"a" * 100_001, "text/plain", 413, "text_too_long"),
        (b'{"text": "a", "offsets": "bytes"}', "application/json", 422, "invalid_option"),
        (b"txt=Obama", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"<text/>", "application/xml", 415, "unsupported_media_type"),
    ],
)
def test_errors_have_their_status_on_a_stock_server_too(stock_server, body, content_type, status, code):
    reply = requests.post(stock_server, data=body, headers={"Content-Type": content_type}, timeout=60)

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "files",
    [
        {"text": (None, TEXT)},
        {"text": ("text.txt", TEXT.encode(), "text/plain")},
        {"json": (None, json.dumps({"text": TEXT}))},
        {"json": ("text.json", json.dumps({"text": TEXT}).encode(), "application/json")},
    ],
    ids=["text", "text file", "json", "json file"],
)
def test_a_form_may_be_multipart_and_hold_a_file(stock_server, files):
    reply = requests.post(stock_server, files=files, timeout=60)

    assert reply.status_code == 200
    assert spans(reply.json()["entities"]) == ENTITIES


def test_a_compressed_body_is_refused(stock_server):
    reply = requests.post(
        stock_server, data=gzip.compress(TEXT.encode()), headers={"Content-Encoding": "gzip"}, timeout=60
    )

    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_options_choose_entities_and_offsets(stock_server):
    document = {"text": f"😀 {TEXT}", "labels": ["LOC", "ORG"], "threshold": 0.5, "offsets": "utf16"}

    reply = requests.post(stock_server, json=document, timeout=60)

    expected = [(text, label, start + 3, end + 3) for text, label, start, end in ENTITIES if label != "PER"]
    assert spans(reply.json()["entities"]) == expected


def ask(stock_server, path, document, **headers):
    reply = requests.post(urljoin(stock_server, path), json=document, headers=headers, timeout=60)
    assert reply.headers["Content-Type"].startswith("application/json")
    return reply.status_code, reply.json()


TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "data": [TEXT, ""]}


def test_kserve_v1_on_its_own_path(stock_server):
    status, reply = ask(stock_server, "/v1/models/en:predict", {"instances": [TEXT, {"text": ""}]})

    assert status == 200
    first, second = reply["predictions"]
    assert spans(first["entities"]) == ENTITIES
    assert second == {"entities": []}
    assert reply["model"]["name"] == "en"


def test_open_inference_on_its_own_path(stock_server):
    document = {"id": "42", "inputs": [TENSOR], "parameters": {"labels": "LOC"}}

    status, reply = ask(stock_server, "/v2/models/en/infer", document)

    assert status == 200
    assert (reply["id"], reply["model_name"]) == ("42", "en")
    assert reply["parameters"]["digest"].startswith("sha256:")
    (tensor,) = reply["outputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("entities", "BYTES", [2])
    first, second = map(json.loads, tensor["data"])
    assert spans(first["entities"]) == [entity for entity in ENTITIES if entity[1] == "LOC"]
    assert second == {"entities": []}


@pytest.mark.parametrize(
    ("path", "document", "entities_of"),
    [
        ("/explanations/en", {"text": TEXT}, lambda reply: reply["entities"]),
        ("/v1/models/en:explain", {"instances": [TEXT]}, lambda reply: reply["explanations"][0]["entities"]),
        (
            "/v2/models/en/explain",
            {"inputs": [TENSOR]},
            lambda reply: json.loads(reply["outputs"][0]["data"][0])["entities"],
        ),
    ],
)
def test_explanations_say_which_tokens_carry_an_entity(stock_server, path, document, entities_of):
    status, reply = ask(stock_server, path, document, explain="False")

    assert status == 200
    entities = entities_of(reply)
    assert spans(entities) == ENTITIES
    for entity in entities:
        assert "".join(token["text"] for token in entity["tokens"]) == TEXT.replace(" ", "")
        heaviest = max(entity["tokens"], key=lambda token: token["weight"])
        assert entity["start"] <= heaviest["start"] < entity["end"]


@pytest.mark.parametrize("name", ["explain", "Explain", "EXPLAIN"])
def test_no_header_makes_an_explanation_of_a_prediction(stock_server, name):
    status, reply = ask(stock_server, "/predictions/en", {"text": TEXT}, **{name: "True"})

    assert status == 200
    assert all("tokens" not in entity for entity in reply["entities"])


def test_a_request_past_its_deadline_gets_no_work(stock_server):
    late = ask(stock_server, "/predictions/en", {"text": TEXT}, **{"X-Request-Deadline": str(time.time() - 1)})
    in_time = ask(stock_server, "/predictions/en", {"text": TEXT}, **{"X-Request-Deadline": str(time.time() + 60)})

    assert (late[0], late[1]["error"]["code"], in_time[0]) == (504, "deadline_exceeded", 200)


def test_the_log_names_a_request_by_the_id_that_the_client_gave_it(stock_server, stock_output):
    ask(stock_server, "/predictions/en", {"text": TEXT}, **{"X-Request-Id": "request-of-a-test"})

    deadline = time.monotonic() + 60
    while "request-of-a-test" not in stock_output.read_text(errors="replace"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    logged = stock_output.read_text(errors="replace")
    (line,) = [line for line in logged.splitlines() if "request-of-a-test" in line]
    document = json.loads(line[line.index("{") :])
    (request,) = [one for one in document["requests"] if one["id"] == "request-of-a-test"]
    assert (request["status"], request["chars"], request["entities"]) == (200, len(TEXT), len(ENTITIES))
    assert "Obama" not in logged
