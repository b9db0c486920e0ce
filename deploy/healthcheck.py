"""What the images' HEALTHCHECK runs: exit status 0 when the server in this container truly answers.

    healthcheck.py serve    every model that TorchServe has answers a canary sentence
    healthcheck.py site     the site says at /readyz that every model answers through it

Otherwise the status is 1 and one line says what is wrong; ``docker inspect`` shows it.  It imports the standard library
and contract/ only, since it runs every few seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from contract.entities import CANARY_TEXT
from contract.settings import own_settings

INFERENCE_PORT: Final = 8080
MANAGEMENT_PORT: Final = 8081
SITE_PORT: Final = 8000
KEYS: Final = Path("/run/nerserve/state/keys")
"""Where ``nerserve up`` publishes TorchServe's keys, when it asks for any."""

TIMEOUT_S: Final = 5.0
"""For everything; a little less than the HEALTHCHECK's own, so that the reason is said."""

CANARY: Final = json.dumps({"text": CANARY_TEXT}).encode()


def serve_problem(
    inference_port: int = INFERENCE_PORT, management_port: int = MANAGEMENT_PORT, keys: Path = KEYS
) -> str | None:
    """Why TorchServe does not answer, None when every model does."""
    deadline_s = time.monotonic() + TIMEOUT_S
    status, body = _ask(management_port, "/models?limit=1000", deadline_s, key=_key(keys / "management.key"))
    if status != 200:
        return f"the management API answered with status {status}"
    names = [model["modelName"] for model in json.loads(body)["models"]]
    if not names:
        return "TorchServe has no model"
    for name in names:
        path = f"/predictions/{quote(name, safe='')}"
        status, body = _ask(inference_port, path, deadline_s, body=CANARY, key=_key(keys / "inference.key"))
        if status != 200 or not isinstance(json.loads(body).get("entities"), list):
            return f"model {name} answered a canary sentence with status {status}"
    return None


def site_problem() -> str | None:
    """Why the site is not ready, None when it is."""
    port = int(own_settings(os.environ).get("NERSERVE_PORT", SITE_PORT))
    status, body = _ask(port, "/readyz", time.monotonic() + TIMEOUT_S)
    return None if status == 200 else f"/readyz answered with status {status}: {body[:500].decode(errors='replace')}"


CHECKS: Final[dict[str, Callable[[], str | None]]] = {"serve": serve_problem, "site": site_problem}


def _key(path: Path) -> str | None:
    """The key in the file *path*, None when there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _ask(
    port: int, path: str, deadline_s: float, *, body: bytes | None = None, key: str | None = None
) -> tuple[int, bytes]:
    """Status and body of the reply from *port* on this machine, to a POST if there is a *body*."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    timeout_s = max(0.1, deadline_s - time.monotonic())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Run the check that *arguments* names; returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"usage: healthcheck.py {'|'.join(CHECKS)}\n")
        return 2
    try:
        problem = CHECKS[arguments[0]]()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"no reply that makes sense: {type(error).__name__}: {error}"
    if problem:
        sys.stdout.write(f"{problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
