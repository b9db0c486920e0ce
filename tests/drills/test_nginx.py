"""deploy/nginx.conf in front of a real nerserve: TLS, log-in, limits for each client, streams; needs Debian's nginx.

scripts/test tests/drills/test_nginx.py
"""

import base64
import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import trustme

from bench.serving import free_ports, running
from tests.drills.sentences import TEXTS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

CONF = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NAME = "ner.example.org"  # as in the file
USER, PASSWORD = "ada", "ElevenSquareHorses"
TIMEOUT_S = 60
AT_ONCE = int(re.search(r"limit_conn nerserve_at_once (\d+);", CONF.read_text())[1])
NUM_GUESSES = 10 * int(re.search(r"burst=(\d+) nodelay;", CONF.read_text())[1])

MAIN = """
daemon off;
pid {folder}/pid;
error_log {log};
{user}
events {{ worker_connections 2048; }}
http {{
    access_log off;
    {paths}
    include {folder}/nerserve.conf;
}}
"""


class Client:
    """A client of nginx with an address of its own on loopback, as whom it logs in."""

    def __init__(self, nginx, address, password=PASSWORD):
        self._nginx, self._address = nginx, address
        self.login = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()

    def connect(self):
        """A TLS connection."""
        plain = socket.create_connection(("127.0.0.1", self._nginx.port), TIMEOUT_S, (self._address, 0))
        return self._nginx.trust.wrap_socket(plain, server_hostname=NAME)

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of the reply to one request on a connection of its own."""
        connection = http.client.HTTPConnection(NAME, timeout=TIMEOUT_S)
        connection.sock = self.connect()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Authorization": self.login} | given)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

    def predict(self, text, **headers):
        return self.ask("POST", "/api/predict", json.dumps({"text": text}), Content_Type="application/json", **headers)


class Nginx:
    """nginx with deploy/nginx.conf in *folder*, before the site on *site_port*."""

    def __init__(self, folder, site_port, authority):
        (self.port,) = free_ports(1)
        self.log = folder / "error.log"
        self.trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        certificate = authority.issue_cert(NAME)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(folder / "chain.pem", append=True)
        hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
        (folder / "users").write_text(f"{USER}:{hashed.stdout}")
        text = CONF.read_text()
        for word, own in {
            "/etc/nginx/nerserve/": f"{folder}/",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "server 127.0.0.1:8000 ": f"server 127.0.0.1:{site_port} ",
        }.items():
            assert word in text
            text = text.replace(word, own)
        (folder / "nerserve.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        user = "user root;" if Path("/").owner() == Path.home().owner() else ""  # or it could not read our files
        (folder / "main.conf").write_text(MAIN.format(folder=folder, log=self.log, paths=paths, user=user))
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program, "nginx is not installed: apt-get install nginx-light"
        self._command = [program, "-p", str(folder), "-c", str(folder / "main.conf")]

    @contextlib.contextmanager
    def running(self):
        with subprocess.Popen(self._command, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    with contextlib.suppress(OSError):
                        socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S).close()
                        break
                assert process.poll() is None, "nginx ended at once"
                yield self
            finally:
                process.terminate()


@pytest.fixture(autouse=True)
def _named(monkeypatch):
    """The site behind it knows the name that nginx passes on."""
    monkeypatch.setenv("NERSERVE_ALLOWED_HOSTS", NAME)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A nerserve whose site answers under the name that nginx has."""
    monkeypatch.setenv("NERSERVE_ALLOWED_HOSTS", NAME)
    with running(tmp_path) as server:
        server.wait_for_workers()
        yield server


@pytest.fixture
def nginx(tmp_path, server):
    folder = tmp_path / "nginx"
    folder.mkdir()
    with Nginx(folder, int(server.site.rpartition(":")[2]), trustme.CA(key_type=trustme.KeyType.RSA)).running() as one:
        yield one


class Steady:
    """A client that asks one text after another; remembers every reply that is not the right one."""

    def __init__(self, client, expected):
        self._client, self._expected = client, expected
        self._stop = threading.Event()
        self.num_right, self.others = 0, []
        self._thread = threading.Thread(target=self._ask)

    def _ask(self):
        while not self._stop.wait(0.1):  # 10 a second at most: half of what one client may
            which = self.num_right % len(TEXTS)
            status, _, body = self._client.predict(TEXTS[which])
            if status == 200 and json.loads(body)["entities"] == self._expected[which]:
                self.num_right += 1
            else:
                self.others.append((status, body))

    def wait_for(self, count):
        """Return once it got *count* more right answers, or a wrong one."""
        enough = self.num_right + count
        while self.num_right < enough and not self.others:
            time.sleep(0.01)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def code(body):
    return json.loads(body)["error"]["code"]


def check_page_and_predictions(nginx, expected):
    client = Client(nginx, "127.0.0.2")
    status, _, page = client.ask("GET", "/")
    assert (status, b"<form" in page) == (200, True)
    for text, entities in zip(TEXTS[:5], expected[:5], strict=True):
        status, headers, body = client.predict(text, X_Request_Id="order-4711")
        assert (status, json.loads(body)["entities"]) == (200, entities)
        assert headers["X-Request-Id"] == "order-4711"
    status, _, body = client.predict(TEXTS[0], X_Request_Timeout="0.001")
    assert (status, code(body)) in {(504, "model_timeout"), (504, "deadline_exceeded")}
    assert client.ask("GET", "/metrics")[0] == 404
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(
            socket.create_connection(("127.0.0.1", nginx.port)), server_hostname=NAME
        )
    return "the page, 5 predictions, an id and a deadline passed on; a client that does not trust it gets nothing"


def check_log_in(nginx, server):
    def num_requests():
        return (server.folder / "state" / "logs" / "site.log").read_text().count('"path":"/api/predict"')

    before = num_requests()
    for client in (Client(nginx, "127.0.0.3", "Wrong"), Client(nginx, "127.0.0.3", "")):
        status, headers, _ = client.predict(TEXTS[0])
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="nerserve"')
    client.login = ""
    assert client.ask("GET", "/")[0] == client.ask("GET", "/readyz")[0] == 401
    assert num_requests() == before
    return "401 without the password, and nothing reaches the site"


def check_hosts(nginx):
    client = Client(nginx, "127.0.0.11")
    for name in ("rebound.example.net", "localhost.example.net", f"{NAME}.example.net"):
        status, _, body = client.predict(TEXTS[0], Host=name, X_Forwarded_Host=NAME)
        assert (status, code(body)) == (421, "misdirected_request")
    assert client.predict(TEXTS[0], Host=f"{NAME}:443")[0] == 200
    return "421 by the site under 3 names that are not its own"


def check_rate(nginx, expected):
    """Guesses at a password, all sent at once: nginx answers each by itself, so that no machine is too slow for it."""
    greedy = Client(nginx, "127.0.0.4", "Wrong")
    guess = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {greedy.login}\r\n\r\n"
    with Steady(Client(nginx, "127.0.0.5"), expected) as steady:
        with greedy.connect() as connection:
            connection.sendall(guess.encode() * NUM_GUESSES)
            received = b""
            while received.count(b"HTTP/1.1 ") < NUM_GUESSES or not received.endswith((b"}}", b"</html>\r\n")):
                received += connection.recv(1_000_000)
        steady.wait_for(10)
    replies = received.decode().split("HTTP/1.1 ")[1:]
    refused = [reply for reply in replies if reply.startswith("429")]
    assert {reply[:3] for reply in replies} == {"401", "429"}
    assert all("\r\nRetry-After: 1\r\n" in reply for reply in refused)
    assert {code(reply.partition("\r\n\r\n")[2]) for reply in refused} == {"too_many_requests"}
    assert steady.others == []
    return f"{len(refused)} of {NUM_GUESSES} guesses got 429; of a steady client beside them 0 of {steady.num_right}"


def check_requests_at_once(nginx, expected):
    """Streams that send nothing: each takes a place, and those beyond the limit are refused."""
    greedy = Client(nginx, "127.0.0.6")
    head = (
        f"POST /api/predict HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {greedy.login}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    ).encode()
    with contextlib.ExitStack() as stack, Steady(Client(nginx, "127.0.0.7"), expected) as steady:
        held = [stack.enter_context(greedy.connect()) for _ in range(AT_ONCE)]
        for connection in held:
            connection.sendall(head)
        deadline_s = time.monotonic() + TIMEOUT_S
        while (answer := greedy.predict(TEXTS[0]))[0] != 429:  # nginx has not read all of the heads yet
            assert time.monotonic() < deadline_s
            time.sleep(0.2)  # less often than the rate allows
        silent = [stack.enter_context(greedy.connect()) for _ in range(200)]
        for connection in silent[:100]:
            connection.sendall(head[:50])
        steady.wait_for(10)
    assert (answer[1]["Retry-After"], code(answer[2])) == ("1", "too_many_requests")
    assert 'limiting connections by zone "nerserve_at_once", client: 127.0.0.6' in nginx.log.read_text()
    assert steady.others == []
    return f"the {AT_ONCE + 1}th at once got 429; 100 silent, 100 half heads and {AT_ONCE} half bodies hurt nobody"


def check_stream(nginx, expected):
    """Each line is answered before the next one is sent, and more goes through than a request may have."""
    client = Client(nginx, "127.0.0.8")
    head = (
        f"POST /api/predict HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {client.login}\r\n"
        "Content-Type: application/x-ndjson; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    def chunk(line):
        return f"{len(line):x}\r\n".encode() + line + b"\r\n"

    with client.connect() as connection:
        connection.sendall(head.encode())
        reply = http.client.HTTPResponse(connection, method="POST")
        for number, text in enumerate(TEXTS[:5], 1):
            connection.sendall(chunk(json.dumps({"text": text}).encode() + b"\n"))
            if number == 1:
                reply.begin()
                assert reply.status == 200
            answer = json.loads(reply.readline())
            assert (answer["line"], answer["entities"]) == (number, expected[number - 1])
        blank = chunk(b"\n" * 65_536)
        for _ in range(32):
            connection.sendall(blank)
        connection.sendall(chunk(json.dumps({"text": TEXTS[5]}).encode() + b"\n") + b"0\r\n\r\n")
        answer = json.loads(reply.readline())
        assert (answer["line"], answer["entities"]) == (6 + 32 * 65_536, expected[5])
        assert reply.read() == b""
    return "5 lines, each answered before the next was sent; 2 MiB in all"


def check_sizes(nginx):
    client = Client(nginx, "127.0.0.9")
    site_s = client.predict("x" * 1_048_576)
    nginx_s = client.predict("x" * 5_000_000)
    assert (site_s[0], code(site_s[2])) == (nginx_s[0], code(nginx_s[2])) == (413, "request_too_large")
    assert "this server takes" in nginx_s[2].decode()
    assert "this server takes" not in site_s[2].decode()
    return "413 by the site for 1 MiB and a little, by nginx for 5 MB, with the same code"


def check_without_a_site(nginx, server):
    server.process.terminate()
    server.process.wait(TIMEOUT_S)
    client = Client(nginx, "127.0.0.10")
    status, headers, body = client.predict(TEXTS[0])
    assert (status, headers["Retry-After"], code(body)) == (503, "1", "model_unavailable")
    return "503 in the site's form"


def test_nginx_in_front_of_the_site(nginx, server, expected):
    checks = {
        "page and predictions over TLS": lambda: check_page_and_predictions(nginx, expected),
        "log-in": lambda: check_log_in(nginx, server),
        "host names": lambda: check_hosts(nginx),
        "limit_req, guesses at once": lambda: check_rate(nginx, expected),
        "limit_conn, slow clients": lambda: check_requests_at_once(nginx, expected),
        "streams": lambda: check_stream(nginx, expected),
        "sizes": lambda: check_sizes(nginx),
        "no site": lambda: check_without_a_site(nginx, server),
    }
    for name, check in checks.items():
        print(f"{name:30}  {check()}", flush=True)


STRANGE = (
    "POST /api/predict?labels=PER HTTP/1.1\r\nHost: {name}\r\nAuthorization: {login}\r\nX-Forwarded-For: 10.0.0.1\r\n"
    "Forwarded: for=10.0.0.1\r\nCookie: a=b\r\nX_Request_Id: x\r\nX-Request-Timeout: 3\r\nContent-Type: text/plain\r\n"
    "Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: close\r\n\r\n4\r\nOslo\r\n0\r\n\r\n"
)
REFUSED = {
    "two lengths": "Content-Length: 4\r\nContent-Length: 5\r\n",
    "a length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "a length with a sign": "Content-Length: +4\r\n",
    "two hosts": f"Host: {NAME}\r\nContent-Length: 4\r\n",
    "a folded line": "X-A: b\r\n c\r\nContent-Length: +4\r\n",
    "coded twice": "Transfer-Encoding: gzip, chunked\r\n",
}


def test_what_goes_on_to_the_site_is_normal(tmp_path):
    """nginx sends on what the site reads and nothing else, and refuses what two servers could read in two ways."""
    with socket.create_server(("127.0.0.1", 0)) as site:
        folder = tmp_path / "nginx"
        folder.mkdir()
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        with Nginx(folder, site.getsockname()[1], authority).running() as nginx:
            client = Client(nginx, "127.0.0.2")
            with client.connect() as connection:
                connection.sendall(STRANGE.format(name=NAME, login=client.login).encode())
                upstream, _ = site.accept()
                with upstream:
                    upstream.settimeout(TIMEOUT_S)
                    seen = b""
                    while not seen.endswith(b"Oslo"):
                        seen += upstream.recv(65_536)
                    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    assert connection.recv(12) == b"HTTP/1.1 200"
            first, *lines = seen.partition(b"\r\n\r\n")[0].decode().split("\r\n")
            assert first == "POST /api/predict?labels=PER HTTP/1.1"
            assert dict(line.split(": ", 1) for line in lines) == {
                "Host": NAME,
                "Content-Length": "4",
                "Content-Type": "text/plain",
                "X-Request-Timeout": "3",
            }
            for problem, headers in REFUSED.items():
                with client.connect() as connection:
                    request = (
                        f"POST /api/predict HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: {client.login}\r\n{headers}"
                    )
                    connection.sendall(f"{request}\r\nOslo".encode())
                    status = connection.recv(12)
                assert status in {b"HTTP/1.1 400", b"HTTP/1.1 501"}, f"{problem}: {status}"
