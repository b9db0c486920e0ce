"""Where servers listen, and how a client on this machine reaches them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PORT_OFFSETS: Final[Mapping[str, int]] = {
    "site": 0,
    "grpc_inference": 70,
    "grpc_management": 71,
    "inference": 80,
    "management": 81,
    "metrics": 82,
}
"""What ``--port-base`` adds to each port: from 8000 on they are the default ones but for gRPC's, 7070."""

LAST_PORT: Final = 65_534
"""TorchServe refuses 65535 where it speaks HTTP."""

LAST_PORT_BASE: Final = LAST_PORT - max(PORT_OFFSETS.values())


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
    def client_host(self) -> str:
        """The host a client on this machine connects to; a server may be bound to all addresses."""
        address = self._ip
        return "127.0.0.1" if address is not None and address.is_unspecified else self.host

    @property
    def target(self) -> str:
        """Host and port for a gRPC client on this machine."""
        host = self.client_host
        return f"{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for a client on this machine, without a trailing slash."""
        return f"{self.scheme}://{self.target}"

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = self._ip
        return self.host.lower() == "localhost" if address is None else address.is_loopback

    @property
    def _ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address that the host spells, or None when it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None
