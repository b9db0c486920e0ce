"""The TorchServe process: its command line, its environment, its files, its end.

Java is run directly: the ``torchserve`` launcher starts it as a child it does not forward signals to, and keeps one pid
file for the whole machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ops.errors import OpsError
from ops.process.class_data import ClassData
from ops.process.group import Guard, LogFile, ProcessGroup
from ops.process.properties import format_properties
from ops.process.server_config import ServerConfig, server_env
from ops.process.state_dir import StateDir

LOG_CONFIG: Final = Path(__file__).with_name("log4j2.xml")

MAX_SOCKET_DIR_BYTES: Final = 107 - len("/.ts.sock.65535")
"""The longest java.io.tmpdir: the workers' Unix sockets are opened there, and Linux limits their paths to 107 bytes."""

_BOUNDED_BUFFERS: Final = ("--add-opens=java.base/java.nio=ALL-UNNAMED", "-Dio.netty.tryReflectionSetAccessible=true")
"""So that netty counts its buffers outside the heap, and closes the connection that wants one too many; the JVM would
collect garbage for minutes.  From Java 21 on netty 4.1.53 does not find what it needs for that."""

JVM_OPTIONS: Final = (
    f"-Dlog4j.configurationFile={LOG_CONFIG.as_uri()}",
    *_BOUNDED_BUFFERS,
    "-XX:-UsePerfData",  # else there is a file in /tmp, which stays after kill -9
)
"""For every TorchServe, whoever starts it."""

_LOAD_FAILURES: Final = (
    "Backend worker process died.",  # the worker's own last words, after a traceback
    "Backend worker error",  # it ended before it listened
    "Auto recovery failed again",  # it ended without words, twice
    "Failed to load model: ",  # the archive was not even unpacked
)


class TorchServe(ProcessGroup):
    """One TorchServe, with the models that *sources* has at each start.

    *sources* gives for each model the name of an archive in *model_store*, or a directory; *http_codec* is a jar that
    is to be used in the place of what TorchServe's own holds of it.
    """

    def __init__(
        self,
        *,
        java: Path,
        config: ServerConfig,
        model_store: Path,
        sources: Callable[[], Mapping[str, str]],
        state_dir: StateDir,
        guard: Guard,
        http_codec: Path | None = None,
    ) -> None:
        super().__init__(guard, state_dir.logs / "torchserve.out")
        self._java = java
        self._config = config
        self._model_store = model_store.absolute()
        self._sources = sources
        self._jars = [*([http_codec] if http_codec else []), torchserve_jar()]
        self._state_dir = state_dir
        self._logs = [LogFile(state_dir.logs / name) for name in ("model_log.log", "ts_log.log")]
        self._class_data: ClassData | None = None
        self._link: Path | None = None

    def start(self) -> None:
        """Start the JVM in a clean scratch directory; what is left of an earlier one is ended first."""
        self.kill()
        state_dir = self._state_dir
        state_dir.create()
        if self._config.has_token_authorization:
            state_dir.key_file.touch(0o600, exist_ok=False)  # TorchServe's own is for all to read at first
            self._guard.remove_at_the_end(state_dir.key_file)
        self._guard.remove_at_the_end(state_dir.settings)
        state_dir.settings.write_text(format_properties(self._config.settings), encoding="ascii")
        for log in (self.log, *self._logs):
            log.mark()
        self._class_data = ClassData.of(state_dir.path, java=self._java, jars=self._jars)
        command = java_command(
            java=self._java,
            jvm_options=[*self._class_data.jvm_options(), *self._config.jvm_options],
            settings=state_dir.settings,
            jars=self._jars,
            model_store=self._model_store,
            sources=self._sources(),
            socket_dir=self._socket_dir(),
        )
        environ = server_env(os.environ, state_dir, self._config.limits.max_chars)
        self.launch(command, env=environ, cwd=state_dir.path)

    def kill(self) -> None:
        """End TorchServe and its workers at once, and remove what it unpacked and its keys, which it leaves behind."""
        status = self.poll()
        if self._class_data is not None and status is not None and status >= 0:  # no signal cut it short
            self._class_data.keep()
        super().kill()
        self._state_dir.key_file.unlink(missing_ok=True)
        self._state_dir.settings.unlink(missing_ok=True)
        shutil.rmtree(self._state_dir.scratch, ignore_errors=True)
        if self._link is not None:
            shutil.rmtree(self._link.parent, ignore_errors=True)
            self._link = None

    def load_failed(self) -> bool:
        """Whether the logs of this start say that a worker ended before its model was loaded."""
        return any(sign in log.text() for log in (*self._logs, self.log) for sign in _LOAD_FAILURES)

    def last_words(self, num_lines: int = 25) -> list[str]:
        """The lines that explain a failed start best: the first traceback of a worker, else the end of some log."""
        model_log, ts_log = (log.text().splitlines() for log in self._logs)
        worker_lines = [_message(line) for line in model_log]
        for i, line in enumerate(worker_lines):
            if line.startswith("Traceback (most recent call last)"):
                return _shortened(worker_lines[i:], num_lines)
        for lines in (self.log.text().splitlines(), ts_log, model_log):
            if any(map(str.strip, lines)):
                return [_message(line) for line in lines[-num_lines:]]
        return []

    def _socket_dir(self) -> str:
        """The scratch directory, under a shorter name when its own is too long for a socket's path."""
        scratch = str(self._state_dir.scratch)
        if len(os.fsencode(scratch)) <= MAX_SOCKET_DIR_BYTES:
            return scratch
        self._link = Path(tempfile.mkdtemp(prefix="nerserve-")) / "t"
        for path in (self._link, self._link.parent):
            self._guard.remove_at_the_end(path)
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
    jars: Sequence[Path],
    model_store: Path,
    sources: Mapping[str, str],
    socket_dir: str,
) -> list[str]:
    """The command line of the JVM, as TorchServe's launcher would build it; *settings* is the file it reads.

    ``-ncs``: a snapshot of an earlier run would win over ``-m``; an empty ``-m`` over load_models.
    """
    home = torchserve_home()
    return [
        str(java),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={socket_dir}",
        *JVM_OPTIONS,
        *jvm_options,
        *("-cp", ":".join(map(str, jars)), "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(settings), "-s", str(model_store), "-ncs"),
        *("-m", *([f"{model}={source}" for model, source in sources.items()] or [""])),
    ]
