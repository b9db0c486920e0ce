"""``scripts/containers``: builds both images, or tests the composed stack: start, faults, stop.

Standard library only.  The stack under test is a Compose project of its own on a free port, so that another one on this
machine is not touched.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
DOCKER: Final = shlex.split(os.environ.get("DOCKER", "docker"))
COMPOSE: Final = shlex.split(os.environ.get("COMPOSE", "docker compose"))
TAG: Final = os.environ.get("NERSERVE_TAG", "latest")
IMAGES: Final = {"serve": f"nerserve-serve:{TAG}", "site": f"nerserve-web:{TAG}"}
DOCKERFILES: Final = {"serve": "Dockerfile.serve", "site": "Dockerfile.web"}
PROJECT: Final = "nerserve-check"
RECOVERY_S: Final = 120.0

TEXT: Final = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES: Final = [
    ("Barack Obama", "PER", 0, 12),
    ("Hawaii", "LOC", 25, 31),
    ("United Nations", "ORG", 51, 65),
    ("New York", "LOC", 69, 77),
]

FIND: Final = """
import pathlib
def command(folder):
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:  # ended meanwhile
        return b""
def find(words):
    return [int(folder.name) for folder in pathlib.Path("/proc").glob("[0-9]*") if words in command(folder)]
"""
WORKERS: Final = f"{FIND}\nprint(*find(b'model_service_worker'))"
KILL_A_WORKER: Final = f"{FIND}\nimport os\nos.kill(find(b'model_service_worker')[0], 9)"
TORCHSERVE_PORTS: Final = ("8080", "8081", "8082", "7070", "7071")
LIST_MODELS: Final = """
import json, urllib.request
models = json.load(urllib.request.urlopen("http://127.0.0.1:8081/models?limit=1000"))["models"]
versions = [json.load(urllib.request.urlopen(f"http://127.0.0.1:8081/models/{one['modelName']}/all")) for one in models]
print([(one["modelName"], one["modelVersion"], one["minWorkers"]) for found in versions for one in found])
"""
ASK: Final = """
import http.client, json
def ask(host, key):
    connection = http.client.HTTPConnection(host, 8080, timeout=20)
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {key}"}
    connection.request("POST", "/predictions/en", "Barack Obama spoke.", headers)
    reply = connection.getresponse()
    return reply.status, reply.read()
"""
ASK_WITHOUT_KEY: Final = f"""{ASK}
import sys
status, body = ask(sys.argv[1], "none")
print(status, json.loads(body)["type"])
"""
KEYS_OF_THE_SITE: Final = f"""{ASK}
import os, pathlib
shared = pathlib.Path("/shared")
key = shared / "inference.key"
print(json.dumps({{
    "files": os.listdir(shared),
    "mode": oct(key.stat().st_mode & 0o777),
    "writable": os.access(shared, os.W_OK),
    "status": ask("serve", key.read_text().strip())[0],
    "management": pathlib.Path("/run/nerserve").exists(),
}}))
"""
RENEW_THE_KEY: Final = """
import json, pathlib, urllib.request
(file,) = pathlib.Path("/run/nerserve").rglob("key_file.json")
headers = {"Authorization": "Bearer " + json.loads(file.read_text())["API"]["key"]}
request = urllib.request.Request("http://127.0.0.1:8081/token?type=inference", headers=headers)
print(urllib.request.urlopen(request).status)
"""
OLDEST_UPDATE_OF_JAVA: Final = 19
"""What Debian 12 itself has; its security archive has newer ones."""

JAVA_VERSION: Final = f"""{FIND}
import os, subprocess
print(os.readlink(f"/proc/{{find(b'org.pytorch.serve.ModelServer')[0]}}/exe"), flush=True)
print(subprocess.run(["/opt/java/bin/java", "-version"], capture_output=True, text=True, check=True).stderr)
"""
SIGNAL_JAVA: Final = f"{FIND}\nimport os\nos.kill(find(b'org.pytorch.serve.ModelServer')[0], %d)"


class CheckError(Exception):
    """A check failed; the message says what was found."""


class Stack:
    """The composed stack under test: docker-compose.yml, and *overrides*."""

    def __init__(self, *overrides: str) -> None:
        self._files = [word for name in ("docker-compose.yml", *overrides) for word in ("-f", str(ROOT / name))]
        self.port = free_port()
        self._env = {**os.environ, "NERSERVE_PUBLISH": f"127.0.0.1:{self.port}", "NERSERVE_TAG": TAG}

    def compose(self, *arguments: str) -> str:
        """Run Compose on the stack; returns its stdout, raises CheckError when it fails."""
        return run([*COMPOSE, "-p", PROJECT, *self._files, *arguments], env=self._env)

    def up(self) -> None:
        """Start the stopped containers, and return once both are healthy."""
        self.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "180")

    def down(self) -> None:
        """Remove its containers, networks and volumes."""
        self.compose("down", "--volumes", "--timeout", "60")

    def container(self, service: str) -> str:
        """The id of the container of *service*."""
        return self.compose("ps", "--all", "-q", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """The engine's description of the container of *service*."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)))
        return found[0]

    def run_inside(self, service: str, program: str) -> str:
        """The stdout of the Python *program* in the container of *service*."""
        return docker("exec", "-i", self.container(service), "python", "-", stdin=program)

    def entities(self) -> list[tuple[str, str, int, int]]:
        """The entities that the site finds in TEXT; raises CheckError unless the status is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/api/predict", json.dumps({"text": TEXT}), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise CheckError(f"no answer: {error!r}") from error
        finally:
            connection.close()
        if reply.status != 200:
            raise CheckError(f"status {reply.status}: {body[:300].decode(errors='replace')}")
        return [(one["text"], one["label"], one["start"], one["end"]) for one in json.loads(body)["entities"]]

    def check_answer(self) -> None:
        """Raise CheckError unless the site finds ENTITIES."""
        entities = self.entities()
        expect(entities == ENTITIES, f"got {entities}")

    def is_well(self) -> bool:
        """Whether both containers are healthy and the answer is right."""
        try:
            self.check_answer()
        except CheckError:
            return False
        return all(self.inspect(service)["State"].get("Health", {}).get("Status") == "healthy" for service in IMAGES)

    def wait_until_well(self, began_s: float) -> float:
        """Seconds from *began_s* until the stack is well."""
        while time.monotonic() < began_s + RECOVERY_S:
            if self.is_well():
                return time.monotonic() - began_s
            time.sleep(0.2)
        raise CheckError(f"not well again after {RECOVERY_S:.0f} s")


def run(command: Sequence[str], *, stdin: str = "", env: dict[str, str] | None = None) -> str:
    """The stdout of *command*; raises CheckError with its output when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    if done.returncode:
        raise CheckError(f"{shlex.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def docker(*arguments: str, stdin: str = "") -> str:
    """Run Docker; returns its stdout, raises CheckError when it fails."""
    return run([*DOCKER, *arguments], stdin=stdin)


def expect(fine: bool, problem: str) -> None:
    """Raise CheckError with *problem* unless *fine*."""
    if not fine:
        raise CheckError(problem)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scan(hosts: Sequence[str], prefix: Sequence[str] = ()) -> dict[str, list[int]]:
    """The open ports of *hosts*, as seen from this machine or by the Python that *prefix* starts."""
    program = (HERE / "scan.py").read_text(encoding="utf-8")
    found: dict[str, list[int]] = json.loads(run([*(prefix or [sys.executable]), "-", *hosts], stdin=program))
    return found


def host_addresses() -> list[str]:
    """127.0.0.1, and this machine's own address if it has one."""
    addresses = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        addresses.append(probe.getsockname()[0])
    return addresses


def check_up(stack: Stack) -> str:
    """From nothing to healthy."""
    began_s = time.monotonic()
    stack.up()
    return f"both healthy after {time.monotonic() - began_s:.0f} s"


def check_answers(stack: Stack) -> str:
    """The site answers with the expected entities."""
    stack.check_answer()
    return f"{len(ENTITIES)} entities with exact offsets"


def check_hardening(stack: Stack) -> str:
    """Both containers run without root, capabilities, writable files or tools."""
    expected = {"serve": {"torch", "ts", "handler"}, "site": {"flask", "gunicorn", "web"}}
    program = (HERE / "inside.py").read_text(encoding="utf-8")
    for service, packages in expected.items():
        found = json.loads(stack.run_inside(service, program))
        expect(found["uid"] == found["gid"] == 10001, f"{service}: runs as {found['uid']}:{found['gid']}")
        expect(found["process_1_uids"] == ["10001"], f"{service}: process 1 runs as {found['process_1_uids']}")
        has_capabilities = any(int(value, 16) for value in found["capabilities"].values())
        expect(not has_capabilities, f"{service}: has capabilities: {found['capabilities']}")
        expect(found["no_new_privileges"], f"{service}: may gain privileges")
        for key in ("writable", "executable_mounts", "compilers", "pip_caches"):
            expect(not found[key], f"{service}: {key}: {found[key]}")
        expect(set(found["packages"]) == packages, f"{service}: packages {found['packages']}")
    return "uid 10001, no capability, nothing but noexec tmpfs writable, no compiler, no package too many"


def check_runtime(stack: Stack) -> str:
    """TorchServe runs on a patched Java 17, from the image and with class data of its own."""
    running, said = stack.run_inside("serve", JAVA_VERSION).split("\n", 1)
    found = re.search(r'version "17\.0\.([0-9]+)[^"]*"', said)
    expect(running == "/opt/java/bin/java", f"TorchServe runs on {running}")
    expect(found is not None and int(found[1]) >= OLDEST_UPDATE_OF_JAVA, f"it is {said}")
    expect("mixed mode, sharing" in said, f"it has no class data: {said}")
    return said.splitlines()[0]


def check_ports(stack: Stack, before: dict[str, list[int]]) -> str:
    """Only the site can be reached from this machine and from the published network."""
    after = scan(list(before))
    ours = published_ports(stack) | {stack.port}  # other programs open and close ports meanwhile
    new = {host: sorted((set(ports) - set(before[host])) & ours) for host, ports in after.items()}
    expected = {host: [stack.port] if host == "127.0.0.1" else [] for host in before}
    expect(new == expected, f"from this machine: {new}")
    serve, site = (stack.inspect(service)["NetworkSettings"]["Networks"] for service in IMAGES)
    expect(list(serve) == [f"{PROJECT}_inside"], f"serve is on {list(serve)}")
    outside = site[f"{PROJECT}_outside"]["IPAddress"]
    hidden = [serve[f"{PROJECT}_inside"]["IPAddress"], site[f"{PROJECT}_inside"]["IPAddress"]]
    seen = scan([outside, *hidden], [*DOCKER, *attached("outside")])
    expect(seen == {outside: [8000], hidden[0]: [], hidden[1]: []}, f"from the published network: {seen}")
    return "from this machine 1 port, from the published network 1 port: the site's"


def check_intruders(stack: Stack) -> str:
    """Nobody outside of serve registers a model or reaches its management, wherever it tries; from inside it works."""
    address = stack.inspect("serve")["NetworkSettings"]["Networks"][f"{PROJECT}_inside"]["IPAddress"]
    program = (HERE / "intrude.py").read_text(encoding="utf-8")
    stranger = ["run", "--rm", "-i", "--entrypoint", "python"]
    places = {
        "the site's container": [*DOCKER, "exec", "-i", stack.container("site"), "python"],
        "another container on the network inside": [*DOCKER, *attached("inside")],
        "one on the network outside": [*DOCKER, *attached("outside")],
        "one on the engine's own network": [*DOCKER, *stranger, IMAGES["site"]],
        "this machine": [sys.executable],
    }
    before = stack.run_inside("serve", LIST_MODELS)
    for place, python in places.items():
        found = json.loads(run([*python, "-", address, *TORCHSERVE_PORTS], stdin=program))
        reached = {port: attempts for port, attempts in found.items() if attempts != "no connection"}
        expect(set(reached) <= {"8080"}, f"{place} reaches {reached}")
        statuses = reached.get("8080", {}).values()
        expect(all(isinstance(one, int) and 400 <= one < 500 for one in statuses), f"{place}: {reached}")
        expect(stack.run_inside("serve", LIST_MODELS) == before, f"{place} changed the models")
    inside = ["exec", "-i", stack.container("serve"), "python", "-", "127.0.0.1", "8081"]
    own = json.loads(docker(*inside, stdin=program))["8081"]
    expect(own["POST /models?url=en.mar&model_name=intruder"] == 200, f"it does not work on serve's loopback: {own}")
    stack.compose("restart", "serve")  # which had its workers taken away
    stack.wait_until_well(time.monotonic())
    return f"from {len(places)} places none, and only 8080 is reached; on serve's own loopback the same works"


def published_ports(stack: Stack) -> set[int]:
    """The ports of this machine that are published for the stack."""
    bindings = [stack.inspect(service)["NetworkSettings"]["Ports"] or {} for service in IMAGES]
    return {int(one["HostPort"]) for ports in bindings for bound in ports.values() for one in bound or []}


def attached(network: str) -> list[str]:
    """Docker's arguments for a Python on *network*, in a container of its own, that reads its program from stdin."""
    return ["run", "--rm", "-i", "--network", f"{PROJECT}_{network}", "--entrypoint", "python", IMAGES["site"]]


def check_keys() -> str:
    """With deploy/keys.yml TorchServe asks for keys, and the site has the inference key and no other."""
    stack = Stack("deploy/keys.yml")
    try:
        stack.up()
        stack.check_answer()
        address = stack.inspect("serve")["NetworkSettings"]["Networks"][f"{PROJECT}_inside"]["IPAddress"]
        without = docker(*attached("inside"), "-", address, stdin=ASK_WITHOUT_KEY)
        expect(without.split() == ["400", "InvalidKeyException"], f"without a key the answer is {without}")
        seen = json.loads(stack.run_inside("site", KEYS_OF_THE_SITE))
        expected = {"files": ["inference.key"], "mode": "0o640", "writable": False, "status": 200, "management": False}
        expect(seen == expected, f"the site's container sees {seen}")
        renewed = stack.run_inside("serve", RENEW_THE_KEY).strip()
        expect(renewed == "200", f"renewing the key got {renewed}")
        stack.check_answer()
        stack.compose("stop", "serve")
        left = stack.run_inside("site", "import os; print(os.listdir('/shared'))").strip()
        expect(left == "[]", f"when serve was stopped, {left} stayed")
    finally:
        stack.down()
    return "400 without a key; the site has the inference key, read-only, and the next one; none stays after a stop"


def check_worker_kill(stack: Stack) -> str:
    """A worker killed with -9 is replaced; the others answer meanwhile."""
    before = set(stack.run_inside("serve", WORKERS).split())
    began_s = time.monotonic()
    stack.run_inside("serve", KILL_A_WORKER)
    failures = 0
    while len(workers := set(stack.run_inside("serve", WORKERS).split())) < len(before) or workers == before:
        expect(time.monotonic() < began_s + RECOVERY_S, f"workers {before} became {workers}")
        try:
            stack.check_answer()
        except CheckError:
            failures += 1
    return f"replaced, all well after {stack.wait_until_well(began_s):.1f} s, {failures} failed requests meanwhile"


def check_java(stack: Stack, number: int) -> str:
    """On signal *number* to the JVM the container ends, and the restart policy starts it again."""
    return restarted(stack, "serve", lambda: stack.run_inside("serve", SIGNAL_JAVA % number))


def check_crash(stack: Stack, service: str) -> str:
    """Kill -9 of a container's process 1 from outside, like the kernel's out-of-memory killer."""
    program = f"import os; os.kill({stack.inspect(service)['State']['Pid']}, 9)"
    command = ["run", "--rm", "-i", "--pid", "host", "--user", "0", "--entrypoint", "python", IMAGES["site"], "-"]
    return restarted(stack, service, lambda: docker(*command, stdin=program))


def restarted(stack: Stack, service: str, hurt: Callable[[], object]) -> str:
    """Call *hurt*, and wait until *service* was restarted and the stack is well; says how long that took."""
    count = stack.inspect(service)["RestartCount"]
    began_s = time.monotonic()
    hurt()
    while stack.inspect(service)["RestartCount"] == count:
        expect(
            time.monotonic() < began_s + RECOVERY_S, f"{service} was not restarted: {stack.inspect(service)['State']}"
        )
        time.sleep(0.1)
    return f"restarted, all well after {stack.wait_until_well(began_s):.1f} s"


def check_docker_kill(stack: Stack, service: str) -> str:
    """``docker kill``, which an engine may take for a deliberate stop."""
    docker("kill", stack.container(service))
    began_s = time.monotonic()
    while time.monotonic() < began_s + 10:
        if stack.inspect(service)["State"]["Running"]:
            return f"restarted by the policy, all well after {stack.wait_until_well(began_s):.1f} s"
        time.sleep(0.5)
    began_s = time.monotonic()
    # Without --wait, which fails at once if the site is unhealthy because serve was down.
    stack.compose("up", "-d", "--no-build")
    return (
        f"stays down (the engine takes it for a stop); `up -d` brings it back in {stack.wait_until_well(began_s):.1f} s"
    )


def check_stop_under_load(stack: Stack) -> str:
    """Stop under load: every accepted request is answered in full."""
    site = stack.inspect("site")["NetworkSettings"]["Networks"][f"{PROJECT}_outside"]["IPAddress"]
    command = [*DOCKER, *attached("outside"), "-", site, "8000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        if load.stdin is None or load.stdout is None:
            raise CheckError("no pipe to the load")
        load.stdin.write((HERE / "load.py").read_text(encoding="utf-8"))
        load.stdin.close()
        expect(bool(load.stdout.readline()), "the load did not start")
        time.sleep(4)
        began_s = time.monotonic()
        stack.compose("stop")
        took_s = time.monotonic() - began_s
        ended = json.loads(load.stdout.readline() or "{}")
    expect(ended.get("event") == "ended", "the load did not end")
    counts = ended["counts"]
    expect(counts["refused"] > 0, "the load ended before the stop")
    states = {service: stack.inspect(service)["State"] for service in IMAGES}
    expect(counts["lost"] == 0, f"{counts}: {ended['losses']}")
    for service, state in states.items():
        expect(state["ExitCode"] == 0, f"{service} ended with {state['ExitCode']}")
    return (
        f"{counts['answered']} answered in full, {counts['turned_away']} turned away, 0 lost,"
        f" stopped in {took_s:.1f} s, exit statuses 0"
    )


def build(arguments: Sequence[str]) -> int:
    """Build both images with *arguments*; returns the exit status."""
    for service, image in IMAGES.items():
        command = [*DOCKER, "build", "-f", DOCKERFILES[service], "-t", image, *arguments, "."]
        env = {**os.environ, "DOCKER_BUILDKIT": "1"}
        if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
            return 1
    for image in IMAGES.values():
        print(f"{image}: {int(docker('image', 'inspect', '-f', '{{.Size}}', image)) / 1e6:,.0f} MB")
    return 0


def test() -> int:
    """Run every check on a stack of its own and print a table; returns the exit status."""
    stack = Stack()
    before = scan(host_addresses())
    checks: list[tuple[str, Callable[[], str]]] = [
        ("up reaches healthy", lambda: check_up(stack)),
        ("the right answer through the site", lambda: check_answers(stack)),
        ("non-root, read-only, no capabilities", lambda: check_hardening(stack)),
        ("Java", lambda: check_runtime(stack)),
        ("port scan", lambda: check_ports(stack, before)),
        ("attempts to register a model", lambda: check_intruders(stack)),
        ("kill -9 of a worker", lambda: check_worker_kill(stack)),
        ("kill -9 of the JVM", lambda: check_java(stack, signal.SIGKILL)),
        ("a JVM that hangs (SIGSTOP)", lambda: check_java(stack, signal.SIGSTOP)),
        ("kill -9 of serve's process 1", lambda: check_crash(stack, "serve")),
        ("kill -9 of the site's process 1", lambda: check_crash(stack, "site")),
        ("docker kill serve", lambda: check_docker_kill(stack, "serve")),
        ("docker kill site", lambda: check_docker_kill(stack, "site")),
        ("stop under load", lambda: check_stop_under_load(stack)),
        ("keys through a shared directory", check_keys),
    ]
    width = max(len(name) for name, _ in checks)
    num_failed = 0
    try:
        for name, check in checks:
            try:
                result = f"ok    {check()}"
            except CheckError as error:
                num_failed += 1
                result = f"FAIL  {error}"
            print(f"{name:{width}}  {result}", flush=True)
            if num_failed and check is checks[0][1]:
                print(stack.compose("logs", "--tail", "50"))
                break
    finally:
        stack.down()
    print(f"{num_failed} failed" if num_failed else "all passed")
    return 1 if num_failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of *arguments*, by default the process's; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/containers", description="Build both images, or test the stack.")
    parser.add_argument("command", choices=["build", "test"])
    options, rest = parser.parse_known_args(arguments)
    if options.command == "build":
        return build(rest)
    if rest:
        parser.error(f"test takes no arguments, got {shlex.join(rest)}")
    return test()


if __name__ == "__main__":
    sys.exit(main())
