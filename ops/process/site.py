"""The site as a process: gunicorn with ``web.app`` in it, and whether it is ready."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from contract.limits import MAX_CHARS_VARIABLE
from ops.errors import OpsError
from ops.process.group import Guard, ProcessGroup
from ops.process.properties import Address
from ops.process.torchserve import StateDir

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiteCommand:
    """How the site is run.

    Attributes:
        arguments: The command line.
        directory: Where it runs; the package ``web`` is importable there.
    """

    arguments: tuple[str, ...]
    directory: Path


def gunicorn_command() -> SiteCommand:
    """The site under gunicorn, as ``web/server/gunicorn_conf.py`` configures it.

    Raises OpsError when the package ``web`` or gunicorn is not installed.
    """
    spec = importlib.util.find_spec("web")
    if spec is None or not spec.submodule_search_locations:
        raise OpsError("the package web is not installed in this Python; use --no-site to serve without it")
    if importlib.util.find_spec("gunicorn") is None:
        raise OpsError("gunicorn is not installed in this Python; pip install gunicorn, or use --no-site")
    package = Path(next(iter(spec.submodule_search_locations)))
    config = package / "server" / "gunicorn_conf.py"
    return SiteCommand(
        arguments=(sys.executable, "-m", "gunicorn", "--config", str(config), "web.app:create_app()"),
        directory=package.parent,
    )


class Site:
    """One site that can be started again and again; never two at a time."""

    def __init__(
        self,
        *,
        command: SiteCommand,
        address: Address,
        inference_url: str,
        models: tuple[str, ...],
        state_dir: StateDir,
        guard: Guard,
        max_chars: int,
        inference_key: Path | None = None,
        ca: Path | None = None,
    ) -> None:
        """*inference_key* is the file with the key, None for a TorchServe that asks for none.

        *max_chars* is the longest text.  *ca* has the certificates to trust, None when *inference_url* is not https.
        """
        self._command = command
        self._address = address
        self._inference_url = inference_url
        self._models = models
        self._output = state_dir.logs / "site.log"
        self._guard = guard
        self._max_chars = max_chars
        self._inference_key = inference_key
        self._ca = ca
        self._group: ProcessGroup | None = None
        self._tmp: Path | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """The base URL of the site, without a trailing slash."""
        return self._address.url

    @property
    def pid(self) -> int | None:
        """The process id of gunicorn's master, the last one's when it has ended."""
        return self._group.pid if self._group else None

    def start(self) -> None:
        """Start gunicorn; what is left of an earlier one is ended first."""
        self.kill()
        self._tmp = Path(tempfile.mkdtemp(prefix="nerserve-site-"))
        self._log_start = self._output.stat().st_size if self._output.exists() else 0
        self._group = ProcessGroup(
            self._command.arguments,
            env=self._env(os.environ),
            cwd=self._command.directory,
            output=self._output,
            guard=self._guard,
        )
        logger.info("site started, pid %d", self._group.pid)

    def _env(self, environ: Mapping[str, str]) -> dict[str, str]:
        """*environ* with what the site must know; of keys it learns where one of them is, and nothing else.

        GUNICORN_CMD_ARGS goes: it would win over our configuration.
        """
        ours = {
            "NERSERVE_INFERENCE_URL": self._inference_url,
            "NERSERVE_INFERENCE_KEY_FILE": self._inference_key,
            "NERSERVE_CA_FILE": self._ca,
            "NERSERVE_MODELS": ",".join(self._models),
            MAX_CHARS_VARIABLE: self._max_chars,
            "NERSERVE_HOST": self._address.host,
            "NERSERVE_PORT": self._address.port,
            "TMPDIR": self._tmp,
            "GUNICORN_CMD_ARGS": None,
        }
        others = {name: value for name, value in environ.items() if name not in ours}
        return others | {name: str(value) for name, value in ours.items() if value is not None}

    def poll(self) -> int | None:
        """The exit status of gunicorn, or None while it runs; once it has ended no worker of it is left."""
        return self._group.poll() if self._group else None

    def is_ready(self, timeout_s: float) -> bool:
        """Whether every model answers through the site."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands between us and this machine
            try:
                return session.get(f"{self.url}/readyz", timeout=timeout_s).ok
            except requests.RequestException:
                return False

    def drain(self) -> None:
        """Ask gunicorn to accept nothing new, to finish what it has, and to end."""
        if self._group is not None:
            self._group.terminate()

    def kill(self) -> None:
        """End gunicorn and its workers at once, and remove their temporary files, which they leave behind then."""
        if self._group is not None:
            self._group.kill()
        if self._tmp is not None:
            shutil.rmtree(self._tmp, ignore_errors=True)
            self._tmp = None

    def last_words(self, num_lines: int = 25) -> list[str]:
        """The end of what the site has written since this start."""
        if not self._output.exists():
            return []
        with self._output.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace").splitlines()[-num_lines:]
