"""The names of all settings in the environment: an unknown one is an error, so a typo never becomes a default."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Final

from contract.errors import SettingError

PREFIX: Final = "NERSERVE_"

#: What workers read; ``nerserve up`` hides our other names from them, since an archive may be older than a name.
WORKER_NAMES: Final = frozenset({
    "NERSERVE_MAX_CHARS",
})  # fmt: skip

NAMES: Final = WORKER_NAMES | frozenset({
    # the site; docs/operations.md, "Settings of the site"
    "NERSERVE_ALLOWED_HOSTS",
    "NERSERVE_CANARY",
    "NERSERVE_CA_FILE",
    "NERSERVE_CLIENT_TIMEOUT_S",
    "NERSERVE_HOST",
    "NERSERVE_INFERENCE_KEY_FILE",
    "NERSERVE_INFERENCE_URL",
    "NERSERVE_MAX_IN_FLIGHT",
    "NERSERVE_MAX_LONG_REQUESTS",
    "NERSERVE_MAX_QUEUE",
    "NERSERVE_MAX_STREAMS",
    "NERSERVE_MODELS",
    "NERSERVE_PORT",
    "NERSERVE_QUEUE_S",
    "NERSERVE_READY_TIMEOUT_S",
    "NERSERVE_READY_WHEN",
    "NERSERVE_TIMEOUT_S",
    "NERSERVE_WEB_WORKERS",
    # nerserve up
    "NERSERVE_NETTY_HTTP",
    # the operator's commands
    "NERSERVE_MANAGEMENT_URL",
    "NERSERVE_STATE_DIR",
    # scripts/install, docker-compose.yml; docs/containers.md, "Settings"
    "NERSERVE_PUBLISH",
    "NERSERVE_PYTHON_IMAGE",
    "NERSERVE_SERVE_CPUS",
    "NERSERVE_SERVE_MEMORY",
    "NERSERVE_SITE_CPUS",
    "NERSERVE_SITE_MEMORY",
    "NERSERVE_TAG",
    "NERSERVE_TORCH_INDEX",
    # examples/
    "NERSERVE_GRPC",
    "NERSERVE_INFERENCE_KEY",
    "NERSERVE_URL",
    # tests/e2e/test_fuzz.py
    "NERSERVE_FUZZ_REQUESTS",
    "NERSERVE_FUZZ_SEED",
})  # fmt: skip

#: Names that were settings once, and what to do instead.
REMOVED: Final[Mapping[str, str]] = {}

#: What Kubernetes tells every container of a Service whose name begins with "nerserve".
_KUBERNETES: Final = re.compile(
    r"NERSERVE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT: Final = re.compile(r"NERSERVE_(?:\w+_)?PORT")
_KUBERNETES_ADDRESS: Final = re.compile(r"(?:tcp|udp|sctp)://")


def own_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What in *environ* has a name of ours, in any case, but for what Kubernetes sets for its Services.

    >>> own_settings({"NERSERVE_PORT": "tcp://10.0.0.1:8000", "NERSERVE_SERVICE_HOST": "10.0.0.1", "HOME": "/root"})
    {}
    """
    return {
        name: value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and not _is_kubernetes(name, value)
    }


def read_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The same, once every name is known.

    >>> read_settings({"NERSERVE_MAX_CHARS": "500", "HOME": "/root"})
    {'NERSERVE_MAX_CHARS': '500'}

    Raises:
        SettingError: a name is not, or no longer; the message says all of them, and what to do, but no value.
    """
    settings = own_settings(environ)
    problems = [
        f"{name}: no longer used; {REMOVED[name]}" if name in REMOVED else unknown_setting(name, NAMES)
        for name in sorted(settings.keys() - NAMES)
    ]
    if problems:
        raise SettingError("; ".join(problems))
    return settings


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """What is said of a *name* that is none of *known*: the one that is most like it.

    >>> unknown_setting("NERSERVE_QUEUE", ["NERSERVE_MAX_QUEUE", "NERSERVE_PORT"])
    'NERSERVE_QUEUE: unknown setting; the nearest known one is NERSERVE_MAX_QUEUE'
    """
    matcher = SequenceMatcher(b=name.lower().removeprefix(PREFIX.lower()))

    def likeness(other: str) -> float:
        matcher.set_seq1(other.lower().removeprefix(PREFIX.lower()))
        return matcher.ratio()

    shown = name if name.isprintable() and len(name) <= 80 else ascii(name[:80])
    return f"{shown}: unknown setting; the nearest known one is {max(sorted(known), key=likeness)}"


def _is_kubernetes(name: str, value: str) -> bool:
    is_address = _KUBERNETES_ADDRESS.match(value) is not None  # NERSERVE_PORT is a setting of ours as well
    return _KUBERNETES.fullmatch(name) is not None or (is_address and _KUBERNETES_PORT.fullmatch(name) is not None)


if __name__ == "__main__":  # scripts/install asks before it installs anything
    try:
        read_settings(os.environ)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
