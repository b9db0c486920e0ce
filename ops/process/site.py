"""The site as a process: gunicorn with ``web.app`` in it, and whether it is ready."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests

from contract.limits import MAX_CHARS_VARIABLE
from ops.errors import ConfigFileError, OpsError
from ops.process.addresses import Address
from ops.process.group import Guard, ProcessGroup
from ops.process.state_dir import StateDir
from ops.torchserve_api.endpoint import request

_WRONG_SETTING_STATUS: Final = 2


@dataclass(frozen=True)
class SiteCommand:
    """The command line of the site, and the directory where it runs: the package ``web`` is importable there.

    Attributes:
        check: A command that ends with status 2, after one line on stderr, where the environment has a wrong setting.
    """

    arguments: tuple[str, ...]
    directory: Path
    check: tuple[str, ...]

    def check_settings(self, environ: Mapping[str, str]) -> None:
        """Raise ConfigFileError for a setting in *environ* that would stop the site."""
        done = subprocess.run(
            self.check, cwd=self.directory, env=environ, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode == _WRONG_SETTING_STATUS:
            raise ConfigFileError(done.stderr.strip())


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
        check=(sys.executable, "-m", "web.config"),
    )


def site_environ(
    *,
    address: Address,
    inference_url: str,
    models: tuple[str, ...],
    max_chars: int,
    inference_key: Path | None = None,
    ca: Path | None = None,
) -> dict[str, str]:
    """This process's environment with what a site at *address* has to know.

    *inference_key* is the file with the key, None for a TorchServe that asks for none.  *ca* has the certificates to
    trust, None when *inference_url* is not https.
    """
    ours = {
        "NERSERVE_INFERENCE_URL": inference_url,
        "NERSERVE_INFERENCE_KEY_FILE": inference_key,
        "NERSERVE_CA_FILE": ca,
        "NERSERVE_MODELS": ",".join(models),
        MAX_CHARS_VARIABLE: max_chars,
        "NERSERVE_HOST": address.host,
        "NERSERVE_PORT": address.port,
        "GUNICORN_CMD_ARGS": None,  # it would win over our configuration
    }
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return env | {name: str(value) for name, value in ours.items() if value is not None}


class Site(ProcessGroup):
    """One site under gunicorn, with the environment *environ*, at *address*."""

    def __init__(
        self, *, command: SiteCommand, address: Address, environ: Mapping[str, str], state_dir: StateDir, guard: Guard
    ) -> None:
        super().__init__(guard, state_dir.logs / "site.log")
        self._command = command
        self._address = address
        self._environ = environ
        self._scratch = state_dir.site_scratch

    @property
    def url(self) -> str:
        """The base URL of the site, without a trailing slash."""
        return self._address.url

    def start(self) -> None:
        """Start gunicorn; what is left of an earlier one is ended first."""
        self.kill()
        self._scratch.mkdir(mode=0o700)
        self.log.mark()
        env = {**self._environ, "TMPDIR": str(self._scratch)}
        self.launch(self._command.arguments, env=env, cwd=self._command.directory)

    def is_ready(self, timeout_s: float) -> bool:
        """Whether every model answers through the site."""
        try:
            return request("GET", f"{self.url}/readyz", timeout_s=timeout_s).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """End gunicorn and its workers at once, and remove their temporary files, which they leave behind then."""
        super().kill()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def last_words(self, num_lines: int = 25) -> list[str]:
        """The end of what the site has written since this start."""
        return self.log.text().splitlines()[-num_lines:]
