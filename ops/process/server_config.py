"""TorchServe's ``config.properties`` as far as we need it: its addresses, who may ask there, and the JVM's options."""

from __future__ import annotations

import codecs
import locale
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.limits import DEFAULT_REQUEST_BYTES, MAX_CHARS_VARIABLE, RequestLimits
from contract.settings import PREFIX, WORKER_NAMES, unknown_setting
from ops.errors import ConfigFileError
from ops.process.addresses import LAST_PORT, PORT_OFFSETS, Address
from ops.process.limits import with_heap
from ops.process.properties import BOOLEANS, LAUNCHER, NUMBERS, TEXTS, parse_properties, resolve_variables
from ops.process.state_dir import StateDir
from ops.process.tls import private_key_problem

SHORTEST_KEY_LIFE_S: Final = 5

_DEFAULTS: Final = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
    "grpc_inference_address": "127.0.0.1",
    "grpc_inference_port": "7070",
    "grpc_management_address": "127.0.0.1",
    "grpc_management_port": "7071",
    "enable_grpc_ssl": "false",
    "disable_token_authorization": "false",
    "token_expiration_min": "60",
    "vmargs": "",
}

_KNOWN: Final = BOOLEANS | NUMBERS | TEXTS | LAUNCHER
_CHECKED_WHERE_READ: Final = frozenset({"grpc_inference_port", "grpc_management_port", "max_request_size"})
_LEAST: Final = {"job_queue_size": 1}
_METRICS_MODES: Final = ("log", "prometheus", "legacy")

#: TorchServe's pattern, but for ``unix:`` and for addresses without a port.
_ADDRESS: Final = re.compile(r"(https?)://([^:^/]+):([0-9]{1,9})", re.IGNORECASE | re.ASCII)

_NOT_FOR_WORKERS: Final = frozenset({
    "PYTHONPATH",  # the checkout would shadow what is in the archive
    "PYTHONSTARTUP",
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",  # a worker shifts its socket by its rank
})  # fmt: skip


@dataclass(frozen=True)
class ServerConfig:
    """What config.properties decides about TorchServe as a process.

    Attributes:
        path: The file itself, absolute.
        settings: What TorchServe is given at every start, whatever the file says by then: the file's settings, with
            those that follow from *limits*.
        limits: How much one request and one reply may hold.
        grpc: The two gRPC listeners that TorchServe always opens, predictions first; port 0 is any free one.
        jvm_options: ``vmargs``, with a heap that fits *limits*; the JVM does not read them from the file.
        has_token_authorization: Whether the APIs ask for tokens.
        key_life_s: How long such a token, a key, is valid.
        certificate: The PEM file with the server's certificate; None without TLS, or when it is in a keystore.
    """

    path: Path
    settings: Mapping[str, str] = field(repr=False)
    limits: RequestLimits
    inference: Address
    management: Address
    metrics: Address
    grpc: tuple[Address, ...]
    jvm_options: tuple[str, ...]
    has_token_authorization: bool
    key_life_s: int
    certificate: Path | None

    @classmethod
    def load(
        cls,
        path: Path,
        limits: RequestLimits | None = None,
        environ: Mapping[str, str] | None = None,
        port_base: int | None = None,
    ) -> ServerConfig:
        """Read *path* for a TorchServe with the environment *environ*, by default this process's.

        Where *port_base* is given, every port follows from it, whatever the file says.

        Raises:
            ConfigFileError: a value cannot be served; the message names its setting.
        """
        limits = limits or RequestLimits()
        raw = _read(path)
        settings = _Settings(path, raw, os.environ if environ is None else environ)
        ports = {} if port_base is None else settings.move(port_base)
        addresses = [settings.address(f"{name}_address") for name in ("inference", "management", "metrics")]
        grpc = tuple(settings.grpc(name) for name in ("inference", "management"))
        return cls(
            path=path.absolute(),
            settings=raw | ports | settings.ours(limits),
            limits=limits,
            inference=addresses[0],
            management=addresses[1],
            metrics=addresses[2],
            grpc=grpc,
            jvm_options=tuple(with_heap(settings["vmargs"].split(), limits)),
            has_token_authorization=not settings.is_true("disable_token_authorization"),
            key_life_s=settings.key_life_s(),
            certificate=settings.certificate() if any(one.has_tls for one in (*addresses, *grpc)) else None,
        )

    @property
    def grpc_inference(self) -> Address:
        """Where predictions are asked over gRPC; port 0 is any free one."""
        return self.grpc[0]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Every address with a port of its own choosing, in the order an operator reads them."""
        return (self.inference, self.management, self.metrics, *(one for one in self.grpc if one.port))


def server_env(environ: Mapping[str, str], state_dir: StateDir, max_chars: int) -> dict[str, str]:
    """The environment of TorchServe and its workers: *environ* without what is not for them, plus our places.

    Every ``TS_`` variable goes: TS_CONFIG_FILE, for one, would win over the ``-f`` of the command line.  Where this
    process's locale is ASCII (``LC_ALL=C``), Java would not find a path with other characters in it.
    """
    env = {
        key: value
        for key, value in environ.items()
        if key in WORKER_NAMES or not (key in _NOT_FOR_WORKERS or key.startswith(("TS_", PREFIX)))
    }
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


def _read(path: Path) -> dict[str, str]:
    try:
        return parse_properties(path.read_bytes().decode("iso-8859-1"))
    except FileNotFoundError as error:
        raise ConfigFileError(f"{path} does not exist; name TorchServe's settings with --config") from error
    except (OSError, ValueError) as error:
        raise ConfigFileError(f"{path} cannot be read: {error}") from error


class _Settings:
    """The settings of the file at *path*, with variables resolved and TorchServe's defaults.

    Every method raises ConfigFileError for a value that TorchServe, or we, could not serve.
    """

    def __init__(self, path: Path, raw: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._path = path
        self._values = dict(_DEFAULTS)
        for key, value in raw.items():
            try:
                self._values[key] = resolve_variables(value, environ)
            except ValueError as error:
                raise ConfigFileError(f"{path}: {key}: {error}") from error
            self._check(key)

    def _check(self, key: str) -> None:
        """Raise ConfigFileError where *key* is no setting of TorchServe's, or has a value of another kind."""
        if key not in _KNOWN:
            raise ConfigFileError(f"{self._path}: {unknown_setting(key, _KNOWN)}")
        if key in BOOLEANS and self[key].lower() not in {"true", "false"}:
            raise self._wrong(key, "true or false")
        if key in NUMBERS - _CHECKED_WHERE_READ:
            first = _LEAST.get(key, 0)
            last = 2**63 - 1 if key.endswith("_ms") else 2**31 - 1
            self._number(key, first, last, f"a whole number from {first} to {last}")
        if key == "metrics_mode" and self[key].lower() not in _METRICS_MODES:
            raise self._wrong(key, f"one of {', '.join(_METRICS_MODES)}")

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def _wrong(self, key: str, expected: str) -> ConfigFileError:
        return ConfigFileError(f"{self._path}: {key}: expected {expected}, got {self[key]!r}")

    def _number(self, key: str, first: int, last: int, expected: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", self[key]) or not first <= int(self[key]) <= last:
            raise self._wrong(key, expected)
        return int(self[key])

    def is_true(self, key: str) -> bool:
        """Whether it is "true", in any case and without a blank."""
        return self[key].lower() == "true"

    def address(self, key: str) -> Address:
        """The address of an HTTP API."""
        found = _ADDRESS.fullmatch(self[key])
        if found is None or not 0 < int(found[3]) <= LAST_PORT:
            raise self._wrong(key, "http://HOST:PORT or https://HOST:PORT")
        return Address(found[2], int(found[3]), key, found[1].lower())

    def grpc(self, name: str) -> Address:
        """The address of a gRPC API."""
        key = f"grpc_{name}_port"
        port = self._number(key, 0, 65_535, "a port from 0 to 65535")
        scheme = "https" if self.is_true("enable_grpc_ssl") else "http"
        return Address(self[f"grpc_{name}_address"], port, key, scheme)

    def move(self, port_base: int) -> dict[str, str]:
        """Have every port follow from *port_base*; returns the settings that say so."""
        moved = {}
        for name in ("inference", "management", "metrics"):
            here = self.address(f"{name}_address")
            moved[f"{name}_address"] = f"{here.scheme}://{here.host}:{port_base + PORT_OFFSETS[name]}"
        for name in ("grpc_inference", "grpc_management"):
            moved[f"{name}_port"] = str(port_base + PORT_OFFSETS[name])
        self._values |= moved
        return moved

    def key_life_s(self) -> int:
        """Whole seconds, as TorchServe counts them; it takes parts of a minute."""
        key = "token_expiration_min"
        minutes = self[key].strip()  # as Double.valueOf does
        is_number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?", minutes)
        life_s = int(float(minutes) * 60) if is_number else 0
        if life_s < SHORTEST_KEY_LIFE_S:  # TorchServe would start, with keys that expire too soon to be used
            raise self._wrong(key, f"minutes, at least {SHORTEST_KEY_LIFE_S / 60:.2f}")
        return life_s

    def ours(self, limits: RequestLimits) -> dict[str, str]:
        """What TorchServe is given over the file's own settings."""
        ours = {"max_request_size": str(limits.request_bytes), "max_response_size": str(limits.reply_bytes)}
        if "max_request_size" in self._values:
            given = self._number("max_request_size", 1, 2**31 - 1, "a number of bytes")
            if given not in {limits.request_bytes, DEFAULT_REQUEST_BYTES}:
                raise ConfigFileError(
                    f"{self._path}: max_request_size: expected {limits.request_bytes}, which follows from the "
                    f"{limits.max_chars} characters that a text may have, got {given}; leave it out, and set "
                    f"{MAX_CHARS_VARIABLE}"
                )
        if "metrics_config" in self._values:  # TorchServe would take a relative path from its working directory
            file = self._path.absolute().parent / self["metrics_config"]
            if not _is_readable(file):  # no worker would start
                raise ConfigFileError(
                    f"{self._path}: metrics_config: expected a file that can be read, got {str(file)!r}"
                )
            ours["metrics_config"] = str(file)
        return ours

    def certificate(self) -> Path | None:
        """The certificate's file, None for a keystore, which gRPC does not read.

        Without either TorchServe would sign a certificate of its own, which no client can verify.
        """
        has_grpc_tls = self.is_true("enable_grpc_ssl")
        if "keystore" in self._values and not has_grpc_tls:
            self._file("keystore")
            return None
        needs = "enable_grpc_ssl needs it" if has_grpc_tls else "https needs it, or a keystore"
        for key in ("private_key_file", "certificate_file"):
            if key not in self._values:
                raise ConfigFileError(f"{self._path}: {key} is missing: {needs}")
        private_key, certificate = self._file("private_key_file"), self._file("certificate_file")
        problem = private_key_problem(private_key, for_grpc=has_grpc_tls)
        if problem:
            raise ConfigFileError(f"{self._path}: private_key_file: {problem}")
        return certificate

    def _file(self, key: str) -> Path:
        file = Path(self[key])
        if not file.is_absolute():  # TorchServe would look in its working directory
            raise self._wrong(key, "an absolute path")
        if not _is_readable(file):
            raise self._wrong(key, "a file that can be read")
        return file


def _is_readable(file: Path) -> bool:
    return file.is_file() and os.access(file, os.R_OK)
