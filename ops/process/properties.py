"""TorchServe's ``config.properties`` as far as we need it: its addresses, who may ask there, and the JVM's options."""

from __future__ import annotations

import binascii
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ops.errors import ConfigFileError

_ADDRESSES: Final = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
}
_RSA_OID: Final = bytes.fromhex("2a864886f70d010101")
_USUAL_KEY_LIFE_MIN: Final = "60"
SHORTEST_KEY_LIFE_S: Final = 5
_GRPC_PORTS: Final = {"grpc_inference_port": "7070", "grpc_management_port": "7071"}


@dataclass(frozen=True)
class Address:
    """Where a server listens, and the setting that says so.

    >>> Address("0.0.0.0", 8080, "inference_address").url
    'http://127.0.0.1:8080'
    """

    host: str
    port: int
    setting: str
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The base URL for a client on this machine, without a trailing slash."""
        host = client_host(self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def target(self) -> str:
        """Host and port for a gRPC client on this machine."""
        return self.url.partition("//")[2]

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = _ip(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


@dataclass(frozen=True)
class ServerConfig:
    """What config.properties decides about TorchServe as a process.

    Attributes:
        path: The file itself, absolute.
        text: All of it as it was read; TorchServe gets this at every start, whatever the file says by then.
        inference: Where predictions are asked.
        management: Where models are described and scaled.
        metrics: Where Prometheus scrapes.
        grpc: The two gRPC listeners that TorchServe always opens, predictions first; port 0 is any free one.
        jvm_options: ``vmargs``; only TorchServe's own launcher reads them, so whoever starts Java must.
        has_token_authorization: Whether the APIs ask for tokens.
        key_life_s: How long such a token, a key, is valid.
        certificate: The PEM file with the server's certificate; None without TLS, or when it is in a keystore.
        metrics_config: The file that defines metrics; None when the settings name none.
        max_request_bytes: The longest body of a request that the file allows; None when it says nothing.
    """

    path: Path
    text: str = field(repr=False)
    inference: Address
    management: Address
    metrics: Address
    grpc: tuple[Address, ...]
    jvm_options: tuple[str, ...]
    has_token_authorization: bool
    key_life_s: int
    certificate: Path | None
    max_request_bytes: int | None = None
    metrics_config: Path | None = None

    @classmethod
    def load(cls, path: Path) -> ServerConfig:
        """Read *path*; raises ConfigFileError, naming the setting, for a value that we know cannot be served."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigFileError(f"{path} does not exist; name TorchServe's settings with --config") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigFileError(f"{path} cannot be read: {error}") from error
        settings = parse_properties(text)
        addresses = {key: _address(path, key, settings.get(key, usual)) for key, usual in _ADDRESSES.items()}
        has_grpc_tls = settings.get("enable_grpc_ssl", "false").lower() == "true"
        grpc = []
        for key, usual in _GRPC_PORTS.items():
            host = settings.get(key.replace("_port", "_address"), "127.0.0.1")
            scheme = "https" if has_grpc_tls else "http"
            grpc.append(Address(host, _port(path, key, settings.get(key, usual)), key, scheme))
        has_tls = has_grpc_tls or any(address.has_tls for address in addresses.values())
        return cls(
            path=path.absolute(),
            text=text,
            inference=addresses["inference_address"],
            management=addresses["management_address"],
            metrics=addresses["metrics_address"],
            grpc=tuple(grpc),
            jvm_options=tuple(settings.get("vmargs", "").split()),
            has_token_authorization=settings.get("disable_token_authorization", "false").lower() != "true",
            key_life_s=_key_life_s(path, settings.get("token_expiration_min", _USUAL_KEY_LIFE_MIN)),
            certificate=_certificate(path, settings, has_grpc_tls=has_grpc_tls) if has_tls else None,
            max_request_bytes=_max_request_bytes(path, settings.get("max_request_size")),
            metrics_config=_metrics_config(path, settings.get("metrics_config")),
        )

    @property
    def grpc_inference(self) -> Address:
        """Where predictions are asked over gRPC; port 0 is one that nobody is told."""
        return self.grpc[0]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Every address with a port of its own choosing, in the order an operator reads them."""
        return (self.inference, self.management, self.metrics, *(one for one in self.grpc if one.port))


def parse_properties(text: str) -> dict[str, str]:
    r"""The settings of a Java properties file; comments, continued lines and both separators are understood.

    >>> parse_properties("# why\na=1\nb : two \\\n  words\n")
    {'a': '1', 'b': 'two words'}
    """
    settings = {}
    for line in re.sub(r"(?<!\\)\\\n[ \t]*", "", text).splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        key, *value = re.split(r"\s*[=:]\s*|\s+", stripped, maxsplit=1)
        settings[key] = value[0].replace("\\\\", "\\") if value else ""
    return settings


def with_settings(text: bytes, settings: Mapping[str, str]) -> bytes:
    r"""The properties file *text* with *settings* at its end, where they win over the same ones before.

    >>> with_settings(b"a=1", {"a": "C:\\ü"})
    b'a=1\na=C:\\\\\\u00fc\n'
    """
    lines = (f"{key}={_escaped(value)}\n" for key, value in settings.items())
    return text.rstrip(b"\\\n") + b"\n" + "".join(lines).encode("ascii")


def _escaped(value: str) -> str:
    """*value* as Java reads it back: backslashes doubled, and code units beyond ASCII by their numbers."""
    units = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    numbers = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(number) if number < 128 else f"\\u{number:04x}" for number in numbers)


def client_host(host: str) -> str:
    """The host a client on this machine connects to when a server is bound to *host*, which may mean everywhere."""
    address = _ip(host)
    return "127.0.0.1" if address is not None and address.is_unspecified else host


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that *host* spells, or None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _address(path: Path, key: str, value: str) -> Address:
    wrong = ConfigFileError(f"{path}: {key}: expected http://HOST:PORT or https://HOST:PORT, got {value!r}")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port or parts.path not in {"", "/"}:
        raise wrong
    return Address(parts.hostname, port, key, parts.scheme)


def _key_life_s(path: Path, minutes: str) -> int:
    """Whole seconds, as TorchServe counts them; it takes parts of a minute."""
    try:
        life_s = int(float(minutes) * 60)
    except (ValueError, OverflowError):
        life_s = 0
    if life_s < SHORTEST_KEY_LIFE_S:  # TorchServe would start, with keys that nobody can use
        raise ConfigFileError(
            f"{path}: token_expiration_min: expected minutes, at least {SHORTEST_KEY_LIFE_S / 60:.2f}, got {minutes!r}"
        )
    return life_s


def _certificate(path: Path, settings: Mapping[str, str], *, has_grpc_tls: bool) -> Path | None:
    """The certificate's file, None for a keystore; without either TorchServe makes one up that nobody can verify."""
    if "keystore" in settings and not has_grpc_tls:  # gRPC reads no keystore
        _readable(path, "keystore", settings["keystore"])
        return None
    needs = "enable_grpc_ssl needs it" if has_grpc_tls else "https needs it, or a keystore"
    for key in ("private_key_file", "certificate_file"):
        if key not in settings:
            raise ConfigFileError(f"{path}: {key} is missing: {needs}")
        _readable(path, key, settings[key])
    if not _is_rsa(Path(settings["private_key_file"])):
        raise ConfigFileError(
            f"{path}: private_key_file: expected an RSA key in PEM form, without a password: TorchServe takes no other"
        )
    if has_grpc_tls and _is_of_openssl(Path(settings["private_key_file"])):
        raise ConfigFileError(
            f"{path}: private_key_file: enable_grpc_ssl needs the key in PKCS 8 form, BEGIN PRIVATE KEY; "
            "openssl pkcs8 -topk8 -nocrypt makes one of it"
        )
    return Path(settings["certificate_file"])


def _is_of_openssl(path: Path) -> bool:
    """Whether the PEM file *path* has its key in OpenSSL's older form, which TorchServe's gRPC does not read."""
    return "-----BEGIN RSA PRIVATE KEY-----" in path.read_text(encoding="ascii", errors="replace")


def _max_request_bytes(path: Path, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 2**31:
        raise ConfigFileError(f"{path}: max_request_size: expected a number of bytes, got {value!r}")
    return int(value)


def _metrics_config(path: Path, value: str | None) -> Path | None:
    """The file, absolute; a relative *value* is taken from the directory of *path*."""
    if value is None:
        return None
    file = path.absolute().parent / value
    if not file.is_file() or not os.access(file, os.R_OK):  # no worker would start
        raise ConfigFileError(f"{path}: metrics_config: expected a file that can be read, got {str(file)!r}")
    return file


def _is_rsa(path: Path) -> bool:
    """Whether the PEM file *path* begins with a private RSA key that can be read without a password."""
    text = path.read_text(encoding="ascii", errors="replace")
    found = re.match(r"\s*-----BEGIN (RSA )?PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END", text)
    if found is None:
        return False
    try:
        return bool(found[1]) or _RSA_OID in binascii.a2b_base64(found[2])[:64]
    except binascii.Error:
        return False


def _readable(path: Path, key: str, value: str) -> None:
    if not Path(value).is_absolute():  # TorchServe would look in its working directory
        raise ConfigFileError(f"{path}: {key}: expected an absolute path, got {value!r}")
    if not os.access(value, os.R_OK) or not Path(value).is_file():
        raise ConfigFileError(f"{path}: {key}: expected a file that can be read, got {value!r}")


def _port(path: Path, key: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > 65_535:
        raise ConfigFileError(f"{path}: {key}: expected a port from 0 to 65535, got {value!r}")
    return int(value)
