"""Tries to register, scale and remove models at ports of a TorchServe: ``python intrude.py HOST PORT...``.

Prints as JSON, for each port, "no connection" or the status of each attempt.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from typing import Final

CONNECT_TIMEOUT_S: Final = 2.0
"""For hosts that drop packets."""

REPLY_TIMEOUT_S: Final = 20.0
"""Registering a model waits until it is unpacked."""

ATTEMPTS: Final = (
    ("POST", "/models?url=en.mar&model_name=intruder"),
    ("POST", "/models?url=/srv/model-store/en.mar&model_name=intruder"),
    ("POST", "/workflows?url=en.mar"),
    ("PUT", "/models/en?min_worker=0&max_worker=0"),
    ("PUT", "/models/en/1.0/set-default"),
    ("DELETE", "/models/intruder"),
    ("GET", "/token?type=management"),
)


def attempts(host: str, port: int) -> dict[str, int | str] | str:
    """The status of each attempt, or what came in place of one; one phrase where there is no connection."""
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError:
        return "no connection"
    return {f"{method} {path}": status(host, port, method, path) for method, path in ATTEMPTS}


def status(host: str, port: int, method: str, path: str) -> int | str:
    """The status of one reply."""
    connection = http.client.HTTPConnection(host, port, timeout=REPLY_TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


json.dump({port: attempts(sys.argv[1], int(port)) for port in sys.argv[2:]}, sys.stdout)
