"""Whether a client that trusts given certificates would talk to a server of ours; asked before anybody else asks."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from ops.errors import ConfigFileError
from ops.process.properties import Address, client_host

TIMEOUT_S = 5.0


def trusting(ca: Path) -> ssl.SSLContext:
    """A client that trusts the certificates in the PEM file *ca* and no others; ConfigFileError when it has none."""
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:  # SSLError is one
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "no certificate in it"
        raise ConfigFileError(f"{ca}: expected certificates to trust, in PEM form ({reason})") from error


def problem_with(address: Address, client: ssl.SSLContext) -> str | None:
    """Why *client* would not talk to the server at *address*; None when it would.

    An OSError says that there is no server, or none that speaks TLS.
    """
    host = client_host(address.host)
    with socket.create_connection((host, address.port), timeout=TIMEOUT_S) as connection:
        try:
            with client.wrap_socket(connection, server_hostname=host):
                return None
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
