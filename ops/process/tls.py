"""What TLS needs, checked before anything is served: TorchServe's private key, and whether its clients trust it."""

from __future__ import annotations

import binascii
import re
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ops.errors import ConfigFileError, StartError
from ops.process.addresses import Address

TIMEOUT_S: Final = 5.0

_RSA_OID: Final = bytes.fromhex("2a864886f70d010101")


def private_key_problem(path: Path, *, for_grpc: bool) -> str:
    """Why TorchServe does not take the private key in the PEM file *path*; empty when it does."""
    text = path.read_text(encoding="ascii", errors="replace")
    found = re.match(r"\s*-----BEGIN (RSA )?PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END", text)
    try:
        is_rsa = found is not None and (bool(found[1]) or _RSA_OID in binascii.a2b_base64(found[2])[:64])
    except binascii.Error:
        is_rsa = False
    if not is_rsa:
        return "expected an RSA key in PEM form, without a password: TorchServe takes no other"
    if for_grpc and "-----BEGIN RSA PRIVATE KEY-----" in text:
        return (
            "enable_grpc_ssl needs the key in PKCS 8 form, BEGIN PRIVATE KEY; "
            "openssl pkcs8 -topk8 -nocrypt makes one of it"
        )
    return ""


class Trust:
    """The certificates in the PEM file *ca*, which clients trust, and the servers at *addresses* that need one of them.

    Raises ConfigFileError when there is no certificate in the file.
    """

    def __init__(self, ca: Path, addresses: Iterable[Address]) -> None:
        self.ca = ca.absolute()
        self._addresses = tuple(address for address in addresses if address.has_tls)
        try:
            self._client = ssl.create_default_context(cafile=str(ca))
        except OSError as error:  # SSLError is one
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "no certificate in it"
            raise ConfigFileError(f"{ca}: expected certificates to trust, in PEM form ({reason})") from error

    def is_served(self) -> bool:
        """Whether every server speaks TLS; StartError for a certificate that no client would accept."""
        for address in self._addresses:
            host = address.client_host
            try:
                with socket.create_connection((host, address.port), timeout=TIMEOUT_S) as connection:
                    self._client.wrap_socket(connection, server_hostname=host).close()
            except ssl.SSLCertVerificationError as error:
                raise StartError(
                    f"{address.setting}: a client that trusts {self.ca} refuses {address.url}: {error.verify_message}"
                ) from error
            except OSError:
                return False
        return True
