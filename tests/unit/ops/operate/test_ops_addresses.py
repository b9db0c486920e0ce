"""Where a command looks for its server, and what it says of what it finds there instead."""

import json
import socket
import ssl
import threading
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from ops.errors import ManagementUnreachableError, OpsError, WrongPortError
from ops.operate.addresses import Addresses
from ops.torchserve_api.ports import Port, port_at, scheme_problem
from tests.unit.ops.conftest import write_handle


@pytest.fixture
def options(tmp_path):
    """What argparse makes of a command without options, but for the state directory, which nothing runs with."""
    (tmp_path / "state").mkdir(mode=0o700)
    return Namespace(management=None, inference=None, ca=None, state_dir=tmp_path / "state")


@pytest.fixture
def closed():
    """The URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=[False, True], ids=["http", "https"])
def other(request):
    """A server that is none of ours, its scheme, and the file of who signed it."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # a handshake that fails

    server = Quiet(("127.0.0.1", 0), Other)
    if request.param:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield ("https" if request.param else "http"), f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_without_an_instance_they_are_the_defaults(options):
    addresses = Addresses(options)

    assert (options.management, options.inference) == ("http://127.0.0.1:8081", "http://127.0.0.1:8080")
    assert addresses.model_store is None


def test_where_none_runs_it_says_where_it_looked(options):
    addresses = Addresses(options)

    error = addresses.explained(refused())

    assert isinstance(error, ManagementUnreachableError)
    assert str(error) == (
        "nothing listens at http://127.0.0.1:8081: is `nerserve up` running? "
        f"None runs with the state directory {options.state_dir}; name its own with --state-dir"
    )


def refused():
    """What the management client raises where nothing listens."""
    error = ManagementUnreachableError("no reply")
    error.__cause__ = ConnectionRefusedError()
    return error


def test_an_instance_that_runs_says_them_and_its_certificates_and_its_store(options, tmp_path):
    write_handle(
        options.state_dir, management="https://a:1", inference="https://a:2", ca="/ca", model_store=str(tmp_path)
    )

    addresses = Addresses(options)

    assert (options.management, options.inference, str(options.ca)) == ("https://a:1", "https://a:2", "/ca")
    assert addresses.model_store == tmp_path


def test_one_that_has_ended_says_nothing(options):
    write_handle(options.state_dir, management="http://a:1", started="another boot 1")

    Addresses(options)

    assert options.management == "http://127.0.0.1:8081"


def test_a_management_url_that_is_given_is_another_server(options):
    write_handle(options.state_dir, management="https://a:1", inference="https://a:2", ca="/ca")
    options.management = "http://b:1"

    addresses = Addresses(options)

    assert (options.management, options.inference, options.ca) == ("http://b:1", "http://127.0.0.1:8080", None)
    assert addresses.model_store is None


@pytest.mark.parametrize("name", ["inference", "ca"])
def test_another_option_that_is_given_wins_alone(options, name):
    write_handle(options.state_dir, management="https://a:1", inference="https://a:2", ca="/ca")
    setattr(options, name, "given")

    Addresses(options)

    assert (options.management, getattr(options, name)) == ("https://a:1", "given")


def test_a_store_that_is_not_there_is_left_alone(options):
    write_handle(options.state_dir, model_store="/nothing")

    assert Addresses(options).model_store is None


def test_a_torchserve_that_starts_anew_is_no_reason_to_start_another(options, closed):
    write_handle(options.state_dir, management=closed)

    error = Addresses(options).explained(refused())

    assert str(error) == (
        f"nothing listens at {closed}: TorchServe is not up yet, or starts anew; "
        f"nerserve status --state-dir {options.state_dir}"
    )


def test_an_inference_port_that_nobody_listens_on_is_said_before_anything_is_done(options, closed):
    options.inference = closed

    with pytest.raises(ManagementUnreachableError, match=f"nothing listens at {closed}"):
        Addresses(options).check_inference()


def test_a_server_that_is_none_of_ours_is_none_of_our_ports(other, options):
    scheme, host = other
    options.management = f"{scheme}://{host}"
    error = OpsError("as it was")

    assert port_at(options.management) is None
    assert Addresses(options).explained(error) is error


def test_the_other_scheme_is_said(other, options):
    scheme, host = other
    options.management = f"{'http' if scheme == 'https' else 'https'}://{host}"

    said = str(Addresses(options).explained(OpsError("no reply")))

    assert said == f"{options.management} speaks {'TLS' if scheme == 'https' else 'no TLS'}; expected {scheme}://{host}"
    assert scheme_problem(f"{scheme}://{host}") == ""


def test_a_scheme_is_no_problem_where_nobody_listens(closed):
    assert scheme_problem(closed) == ""


@pytest.mark.parametrize(
    ("paths", "port"),
    [
        (["/predictions/{model_name}", "/models/{model_name}"], Port.INFERENCE),
        (["/models", "/models/{model_name}", "/metrics"], Port.MANAGEMENT),
        (["/metrics"], Port.METRICS),
        (["/other"], None),
    ],
)
def test_a_port_is_what_its_description_says(paths, port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = json.dumps({"paths": {path: {} for path in paths}}).encode()
        thread = threading.Thread(target=answer, args=(server, body))
        thread.start()

        assert port_at(f"http://127.0.0.1:{server.getsockname()[1]}") is port
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def answer(server, body):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(65_536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
            )


def test_wrong_usage_is_its_status():
    assert WrongPortError.exit_status == 2
