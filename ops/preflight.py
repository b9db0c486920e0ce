"""``nerserve up --only-check``: what can be said before anything is installed, by the standard library alone.

``scripts/up`` asks with any Python that fits; ``nerserve up`` checks all of it again, by the same rules.
"""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from contract.limits import RequestLimits
from ops.errors import BadArchiveError
from ops.process.addresses import Address
from ops.process.java import find_http_codec
from ops.process.ports import check_ports
from ops.process.server_config import ServerConfig, server_env
from ops.process.state_dir import StateDir

BUNDLES: Final = Path("models")
"""Where scripts/up finds the bundles that it archives."""


def check_before_install(options: Namespace, limits: RequestLimits) -> None:
    """Raise OpsError for a model that nobody has, TorchServe's settings, a busy port or a busy state directory.

    Nothing is made or changed: a state directory that no nerserve has used yet is not looked at.
    """
    for model in options.models:
        _check_model(model, options.model_store)
    find_http_codec(os.environ)
    state_dir = StateDir(options.state_dir.absolute())
    environ = server_env(os.environ, state_dir, limits.max_chars)
    config = ServerConfig.load(options.config, limits, environ, options.port_base)
    site = [Address(options.host, options.port, "--port")] if options.has_site else []
    with ExitStack() as locked:
        if (state_dir.path / "lock").exists():
            locked.enter_context(state_dir.locked())
        check_ports([*config.addresses, *site], has_base=options.port_base is not None)


def _check_model(model: str, store: Path) -> None:
    archived, bundle = store / f"{model}.mar", BUNDLES / model
    if not archived.is_file() and not bundle.is_dir():
        found = {path.stem for path in store.glob("*.mar")} | {path.name for path in BUNDLES.glob("*/")}
        there = ", ".join(sorted(found)) or "none"
        raise BadArchiveError(f"no model {model}: neither {archived} nor the bundle {bundle} exists; there is {there}")
