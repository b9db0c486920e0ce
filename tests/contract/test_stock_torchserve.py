"""The archive on a stock TorchServe: a virtual environment without us, TorchServe's own launcher and its defaults."""

import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest
import requests

from ops.java import find_java

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
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = [*pip, "--retries", "2", "--no-deps", "-r", "requirements/torch.txt"]
    subprocess.run([*torch, *(["--index-url", index] if index else [])], check=True)
    subprocess.run([*pip, "--require-hashes", "-r", "requirements/serve.txt"], check=True)
    return python


@pytest.fixture(scope="module")
def stock_server(stock_python, en_mar, tmp_path_factory):
    """The prediction URL of en.mar on a TorchServe that ``torchserve --start`` started."""
    folder = tmp_path_factory.mktemp("server")
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
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{inference}/predictions/en"
        wait_for_answer(url, process, folder / "output")
        yield url
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            member.kill()
        process.wait()


def wait_for_answer(url, process, output, timeout_s=90):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.post(url, json={"text": "ready?"}, timeout=10).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.3)
    raise AssertionError(f"no answer within {timeout_s} s:\n{output.read_text(errors='replace')[-4000:]}")


def spans(entities):
    return [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in entities]


def test_the_environment_holds_nothing_of_ours(stock_python, tmp_path):
    ours = "handler archive web training gensim flask"
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
    ],
)
def test_every_request_form_gives_the_entities_with_exact_offsets(stock_server, body, content_type, entities_of):
    reply = requests.post(stock_server, data=body, headers={"Content-Type": content_type}, timeout=10)

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
        (b"a" * 10_001, "text/plain", 413, "text_too_long"),
        (b"text=Obama", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"<text/>", "application/xml", 415, "unsupported_media_type"),
    ],
)
def test_errors_have_their_status_on_a_stock_server_too(stock_server, body, content_type, status, code):
    reply = requests.post(stock_server, data=body, headers={"Content-Type": content_type}, timeout=10)

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
