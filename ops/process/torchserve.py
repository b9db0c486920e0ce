"""The TorchServe process: its command line, its environment, its files, its end.

Java is run directly: the ``torchserve`` launcher starts it as a child it does
not forward signals to, and keeps one pid file for the whole machine.
"""

from __future__ import annotations

import codecs
import importlib.util
import json
import locale
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.limits import MAX_CHARS_VARIABLE, RequestLimits
from ops.errors import OpsError
from ops.process.class_data import ClassData
from ops.process.group import Guard, ProcessGroup
from ops.process.limits import with_heap
from ops.process.properties import ServerConfig, with_settings

logger = logging.getLogger(__name__)

LOG_CONFIG: Final = Path(__file__).with_name("log4j2.xml")

MAX_SOCKET_DIR_BYTES: Final = 107 - len("/.ts.sock.65535")
"""The longest java.io.tmpdir: the workers' Unix sockets are opened there, and Linux limits their paths to 107 bytes."""

_LOAD_FAILURES: Final = (
    "Backend worker process died.",  # the worker's own last words, after a traceback
    "Backend worker error",  # it ended before it listened
    "Auto recovery failed again",  # it ended without words, twice
    "Failed to load model: ",  # the archive was not even unpacked
)

_NOT_FOR_WORKERS: Final = frozenset({
    "PYTHONPATH",  # the checkout would shadow what is in the archive
    "PYTHONSTARTUP",
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",  # a worker shifts its socket by its rank
})  # fmt: skip


@dataclass(frozen=True)
class StateDir:
    """The directory where one running nerserve keeps its files; every parallel instance has its own."""

    path: Path

    @property
    def logs(self) -> Path:
        """All log files, ours and TorchServe's."""
        return self.path / "logs"

    @property
    def scratch(self) -> Path:
        """Where TorchServe unpacks archives and opens the workers' sockets; emptied at every start."""
        return self.path / "tmp"

    @property
    def settings(self) -> Path:
        """The config.properties that TorchServe reads: the operator's, with what we decide at its end."""
        return self.path / "torchserve.properties"

    @property
    def key_file(self) -> Path:
        """Where TorchServe writes its keys, when it asks for any: its working directory decides."""
        return self.path / "key_file.json"

    @property
    def inference_key(self) -> Path:
        """The inference key alone, for whoever asks for predictions."""
        return self.path / "keys" / "inference.key"

    @property
    def management_key(self) -> Path:
        """The management key alone, for operators."""
        return self.path / "keys" / "management.key"

    def create(self) -> None:
        """Make the directories, private to this user: what TorchServe unpacks there is code that runs."""
        for path in (self.path, self.logs, self.scratch):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


class TorchServe:
    """One TorchServe that can be started again and again; never two at a time."""

    def __init__(
        self,
        *,
        java: Path,
        config: ServerConfig,
        model_store: Path,
        models: tuple[str, ...],
        state_dir: StateDir,
        guard: Guard,
        settings: Mapping[str, str],
        limits: RequestLimits,
    ) -> None:
        """*settings* win over those of *config*; the workers read *limits* in their environment."""
        self._java = java
        self._config = config
        self._model_store = model_store.absolute()
        self._models = models
        self._state_dir = state_dir
        self._guard = guard
        self._settings = dict(settings)
        self._limits = limits
        self._group: ProcessGroup | None = None
        self._class_data: ClassData | None = None
        self._link: Path | None = None
        self._log_starts: dict[Path, int] = {}

    @property
    def pid(self) -> int | None:
        """The process id of the JVM, the last one's when it has ended."""
        return self._group.pid if self._group else None

    def start(self) -> None:
        """Start the JVM in a clean scratch directory; what is left of an earlier one is ended first."""
        self.kill()
        self._state_dir.create()
        if self._config.has_token_authorization:
            self._state_dir.key_file.touch(0o600, exist_ok=False)  # TorchServe's own is for all to read at first
            self._guard.remove_at_the_end(self._state_dir.key_file)
        self._state_dir.settings.write_bytes(with_settings(self._config.text.encode(), self._settings))
        self._log_starts = {path: path.stat().st_size for path in self._log_files() if path.exists()}
        self._class_data = ClassData.of(self._state_dir.path, java=self._java, jar=torchserve_jar())
        self._group = ProcessGroup(
            java_command(
                java=self._java,
                jvm_options=[
                    *self._class_data.jvm_options(),
                    *with_heap(self._config.jvm_options, self._limits),
                ],
                settings=self._state_dir.settings,
                model_store=self._model_store,
                models=self._models,
                socket_dir=self._socket_dir(),
            ),
            env=server_env(os.environ, self._state_dir, self._limits.max_chars),
            cwd=self._state_dir.path,
            output=self._state_dir.logs / "torchserve.out",
            guard=self._guard,
        )
        logger.info("TorchServe started, pid %d", self._group.pid)

    def poll(self) -> int | None:
        """The exit status of the JVM, or None while it runs; once it has ended no worker of it is left."""
        return self._group.poll() if self._group else None

    def terminate(self) -> None:
        """Ask TorchServe to end; it drops what is in flight and takes 2 to 3 seconds."""
        if self._group is not None:
            self._group.terminate()

    def kill(self) -> None:
        """End TorchServe and its workers at once, and remove what it unpacked and its keys, which it leaves behind."""
        if self._group is not None:
            status = self._group.poll()
            if self._class_data is not None and status is not None and status >= 0:  # no signal cut it short
                self._class_data.keep()
            self._group.kill()
        self._state_dir.key_file.unlink(missing_ok=True)
        self._state_dir.settings.unlink(missing_ok=True)
        shutil.rmtree(self._state_dir.scratch, ignore_errors=True)
        if self._link is not None:
            shutil.rmtree(self._link.parent, ignore_errors=True)
            self._link = None

    def load_failed(self) -> bool:
        """Whether the logs of this start say that a worker ended before its model was loaded."""
        return any(sign in text for text in self._new_logs().values() for sign in _LOAD_FAILURES)

    def last_words(self, num_lines: int = 25) -> list[str]:
        """The lines that explain a failed start best: the first traceback of a worker, else the end of some log."""
        logs = {path.name: text.splitlines() for path, text in self._new_logs().items() if text.strip()}
        worker_lines = [_message(line) for line in logs.get("model_log.log", [])]
        for i, line in enumerate(worker_lines):
            if line.startswith("Traceback (most recent call last)"):
                return _shortened(worker_lines[i:], num_lines)
        for name in ("torchserve.out", "ts_log.log", "model_log.log"):
            if name in logs:
                return [_message(line) for line in logs[name][-num_lines:]]
        return []

    def _log_files(self) -> list[Path]:
        return [self._state_dir.logs / name for name in ("model_log.log", "ts_log.log", "torchserve.out")]

    def _new_logs(self) -> dict[Path, str]:
        """What each log file has got since this start."""
        texts = {}
        for path in self._log_files():
            if path.exists():
                with path.open("rb") as log:
                    log.seek(self._log_starts.get(path, 0))
                    texts[path] = log.read().decode("utf-8", "replace")
        return texts

    def _socket_dir(self) -> str:
        """The scratch directory, under a shorter name when its own is too long for a socket's path."""
        scratch = str(self._state_dir.scratch)
        if len(os.fsencode(scratch)) <= MAX_SOCKET_DIR_BYTES:
            return scratch
        self._link = Path(tempfile.mkdtemp(prefix="nerserve-")) / "t"
        self._link.symlink_to(scratch, target_is_directory=True)
        return str(self._link)


def _message(line: str) -> str:
    """What was logged in a *line* as log4j2.xml writes it; the line itself when it is another.

    >>> _message('{"level":"WARN","message":"Traceback"}'), _message("Traceback")
    ('Traceback', 'Traceback')
    """
    try:
        message = json.loads(line)["message"]
    except (ValueError, TypeError, KeyError):
        return line
    return message if isinstance(message, str) else line


def _shortened(lines: list[str], num_lines: int) -> list[str]:
    """*lines*, or only their beginning and their end when there are more than *num_lines*.

    >>> _shortened(list("abcdefg"), 4)
    ['a', 'b', '...', 'f', 'g']
    """
    half = num_lines // 2
    return lines if len(lines) <= num_lines else [*lines[:half], "...", *lines[-half:]]


def torchserve_home() -> Path:
    """The directory that holds the package ``ts``, found without importing it (that takes seconds).

    Raises OpsError when torchserve is not installed.
    """
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise OpsError("torchserve is not installed in this Python; pip install torchserve==0.12.0")
    return Path(spec.origin).parent.parent


def torchserve_jar() -> Path:
    """TorchServe's Java half, one file with all that it needs."""
    return torchserve_home() / "ts" / "frontend" / "model-server.jar"


def java_command(
    *,
    java: Path,
    jvm_options: Sequence[str],
    settings: Path,
    model_store: Path,
    models: tuple[str, ...],
    socket_dir: str,
) -> list[str]:
    """The command line of the JVM, as TorchServe's launcher would build it; *settings* is the file it reads.

    ``-ncs``: a snapshot of an earlier run would win over ``-m``.
    """
    home = torchserve_home()
    return [
        str(java),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={socket_dir}",
        f"-Dlog4j.configurationFile={LOG_CONFIG.as_uri()}",
        *jvm_options,
        "-cp",
        str(home / "ts" / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(settings),
        "-s",
        str(model_store),
        "-ncs",
        "-m",
        *(f"{model}={model}.mar" for model in models),
    ]


def server_env(environ: Mapping[str, str], state_dir: StateDir, max_chars: int) -> dict[str, str]:
    """The environment of TorchServe and its workers: *environ* without what would redirect them, plus our places.

    Every ``TS_`` variable goes: TS_CONFIG_FILE, for one, would win over the ``-f`` of the command line.  Where this
    process's locale is ASCII (``LC_ALL=C``), Java would not find a path with other characters in it.
    """
    env = {key: value for key, value in environ.items() if key not in _NOT_FOR_WORKERS and not key.startswith("TS_")}
    if codecs.lookup(locale.getencoding()).name == "ascii":
        env["LC_ALL"] = "C.UTF-8"
    return env | {
        "LOG_LOCATION": str(state_dir.logs),
        "METRICS_LOCATION": str(state_dir.logs),
        "TMPDIR": str(state_dir.scratch),
        MAX_CHARS_VARIABLE: str(max_chars),
        # One thread per worker: more workers, not more threads, is how a small model uses more cores.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
