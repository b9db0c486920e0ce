"""Whether the ports are free that we are about to use, and if not, who has them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

import psutil

from ops.errors import PortBusyError
from ops.process.addresses import Address


def check_ports(addresses: Iterable[Address]) -> None:
    """Raise PortBusyError for the first of *addresses* that cannot be bound, naming its port and its setting."""
    seen: dict[int, Address] = {}
    for address in addresses:
        if address.port in seen:
            other = seen[address.port].setting
            raise PortBusyError(f"port {address.port} is asked for twice: by {other} and by {address.setting}")
        seen[address.port] = address
        _check_port(address)


def _check_port(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:  # there may be no IPv6 at all
            # As the servers do: connections that still linger from the last run do not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        raise PortBusyError(_reason(address, error)) from error


def _reason(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {address.port} on {address.host} is taken by {_owner(address.port)}; "
            f"stop that, or choose another port with {address.setting}"
        )
    return (
        f"cannot listen on {address.host}:{address.port} ({error.strerror or error}); choose another "
        f"address with {address.setting}"
    )


def _owner(port: int) -> str:
    """Who listens on *port*, as far as the system tells us: ``"java (pid 4711)"``."""
    try:
        listeners = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "another process"
    for listener in listeners:
        listens = listener.status == psutil.CONN_LISTEN and listener.laddr and listener.laddr.port == port
        if listens and listener.pid is not None:
            try:
                return f"{psutil.Process(listener.pid).name()} (pid {listener.pid})"
            except psutil.Error:
                break
    return "another process"
