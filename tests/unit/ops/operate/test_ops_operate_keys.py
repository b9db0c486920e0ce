"""Which key a command sends to whom, and what ``nerserve key`` prints."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nerserve.cli import main, make_parser
from ops.operate.keys import KeySource
from tests.unit.ops.conftest import write_handle

REFUSAL = json.dumps({"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}).encode()


@pytest.fixture
def state_dir(tmp_path):
    """What a nerserve up that asks for keys leaves there for its clients, as long as it runs."""
    path = tmp_path / "state"
    (path / "keys").mkdir(parents=True)
    (path / "keys" / "inference.key").write_text("inference-key")
    (path / "keys" / "management.key").write_text("management-key")
    write_handle(path)
    return path


@pytest.fixture
def guarded():
    """A management API with no model, for whoever has the key "management-key"; ``sent`` is what others came with."""

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/livez":  # which a refused command asks, without a key
                self.send_error(404)
                return
            sent = self.headers["Authorization"]
            is_right = sent == "Bearer management-key"
            if not is_right:
                self.server.sent.append(sent)
            body = b'{"models": []}' if is_right else REFUSAL
            self.send_response(200 if is_right else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    server.sent = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["option", "variable", "default"])
def named(request, state_dir, monkeypatch):
    """The options that name *state_dir*, which the environment or the working directory may do, too."""
    if request.param == "option":
        return ["--state-dir", str(state_dir)]
    if request.param == "variable":
        monkeypatch.setenv("NERSERVE_STATE_DIR", str(state_dir))
    else:
        state_dir.rename(state_dir.with_name(".nerserve"))
        monkeypatch.chdir(state_dir.parent)
    return []


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [([], "inference-key\n"), (["inference"], "inference-key\n"), (["management"], "management-key\n")],
)
def test_the_key_that_is_asked_for_is_printed(named, capsys, arguments, printed):
    assert main(["key", *arguments, *named]) == 0

    assert capsys.readouterr() == (printed, "")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["keys/inference.key", "instance.json"], "no nerserve up runs with the state directory "),
        (["keys/inference.key"], "has no keys yet; wait until it is ready"),
    ],
)
def test_without_a_key_it_says_why(state_dir, capsys, missing, message):
    for name in missing:
        (state_dir / name).unlink()

    assert main(["key", "--state-dir", str(state_dir)]) == 7

    printed, said = capsys.readouterr()
    assert printed == ""
    assert message in said
    assert str(state_dir) in said
    assert said.count("\n") == 1


def test_without_keys_at_all_it_says_why(state_dir, capsys):
    (state_dir / "keys" / "inference.key").unlink()
    write_handle(state_dir, has_keys=False)

    assert main(["key", "--state-dir", str(state_dir)]) == 7

    assert "asks nobody for a key: its config.properties says " in capsys.readouterr().err


def test_a_key_that_a_power_failure_left_is_not_printed(state_dir, capsys):
    write_handle(state_dir, started="another boot 4711")

    assert main(["key", "--state-dir", str(state_dir)]) == 7

    printed, said = capsys.readouterr()
    assert printed == ""
    assert "no nerserve up runs with the state directory " in said


def test_another_kind_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["key", "API"])

    assert caught.value.code == 2
    assert "kind: expected one of inference, management, got 'API'" in capsys.readouterr().err


def test_a_command_finds_the_key_by_the_state_directory(state_dir, guarded, capsys):
    assert main(["models", "--management", guarded.url, "--state-dir", str(state_dir)]) == 0

    assert capsys.readouterr().out == "no model is registered\n"
    assert guarded.sent == []


@pytest.mark.parametrize(("key", "found"), [(None, "does not exist"), ("old", "has another key")])
def test_a_refused_key_comes_with_advice(state_dir, guarded, capsys, key, found):
    path = state_dir / "keys" / "management.key"
    path.unlink() if key is None else path.write_text(key)

    assert main(["models", "--management", guarded.url, "--state-dir", str(state_dir)]) == 7

    assert capsys.readouterr().err == (
        f"nerserve: TorchServe at {guarded.url} asks for a management key, and did not get it: name the state "
        f"directory of its nerserve up with --state-dir or NERSERVE_STATE_DIR; {path} {found}\n"
    )
    assert guarded.sent == [key and f"Bearer {key}"]


def test_a_file_that_is_named_wins(state_dir, guarded, tmp_path, capsys):
    own = tmp_path / "own.key"
    own.write_text("own")

    options = ["--management-key-file", str(own), "--state-dir", str(state_dir)]
    assert main(["models", "--management", guarded.url, *options]) == 7

    assert f"{own} has the key of another server, or an old one" in capsys.readouterr().err
    assert guarded.sent == ["Bearer own"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:8081", "management-key"),
        ("https://localhost:9", "management-key"),
        ("http://[::1]:8081", "management-key"),
        ("http://127.3.2.1:8081", "management-key"),
        ("http://10.0.0.5:8081", None),
        ("https://ner.example.org", None),
        ("http://127.0.0.1.example.org", None),
        ("http://0.0.0.0:8081", None),
    ],
)
def test_the_keys_of_this_machine_are_not_sent_to_others(state_dir, url, key):
    options = make_parser().parse_args(["models", "--management", url, "--state-dir", str(state_dir)])

    source = KeySource.of(options, "management")

    assert source.key() == key
    assert key or source.advice == "name a file with its key: --management-key-file"
