"""Whether the ports that are about to be used are free, and if not, who has them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress

from ops.errors import PortBusyError
from ops.process.addresses import Address

try:
    import psutil
except ModuleNotFoundError:  # scripts/up asks before anything is installed
    psutil = None  # type: ignore[assignment]


def check_ports(addresses: Iterable[Address], *, has_base: bool = False) -> None:
    """Raise PortBusyError for the first of *addresses* that cannot be bound, naming its port and its setting.

    *has_base* says that the ports follow from ``--port-base``.
    """
    seen: dict[int, Address] = {}
    for address in addresses:
        host, port, setting = address.host, address.port, address.setting
        if port in seen:
            raise PortBusyError(f"port {port} is asked for twice: by {seen[port].setting} and by {setting}")
        seen[port] = address
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
                # As the servers do: connections that still linger from the last run do not make a port busy.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                choice = (
                    "another --port-base" if has_base else f"another port with {setting}, or others with --port-base"
                )
                raise PortBusyError(
                    f"port {port} on {host} is taken by {_owner(port)}; stop that, or choose {choice}"
                ) from error
            reason = error.strerror or error
            raise PortBusyError(
                f"cannot listen on {host}:{port} ({reason}); choose another address with {setting}"
            ) from error


def _owner(port: int) -> str:
    """Who listens on *port*, as far as the system tells us: ``"java (pid 4711)"``."""
    if psutil is None:
        return "another process"
    try:
        listeners = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "another process"
    for listener in listeners:
        listens = listener.status == psutil.CONN_LISTEN and listener.laddr and listener.laddr.port == port
        if listens and listener.pid is not None:
            with suppress(psutil.Error):
                return f"{psutil.Process(listener.pid).name()} (pid {listener.pid})"
    return "another process"
