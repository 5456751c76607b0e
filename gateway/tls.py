"""TLS of the two doors, from files that may change while the gateway runs.

Certificates are renewed by whoever issues them, in place or by changing what a path leads to. The gRPC door looks at the files when a client
connects; the HTTP door looks every few seconds, and takes a new certificate by a new server on the same port, while the old one
serves its connections to their end (`http.HttpServer`). Files that do not fit together, as in the middle of a renewal, change nothing.
TLS 1.2 is the least: granian is told so here, gRPC's own least is the same.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
from loguru import logger

_Seen = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate chain and its private key, both PEM."""

    certificate: Path
    key: Path

    def require_usable(self) -> None:
        """Raise OSError that names the files unless they can be read and belong together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not PEM"
            raise OSError(f"no TLS with {self.certificate} and {self.key}: {reason}") from None

    def seen(self) -> _Seen:
        """What tells one state of the files from another; () while one of them is not there."""
        try:
            stats = [path.stat() for path in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


class Renewals:
    """Notices that files have changed and can be used."""

    def __init__(self, files: TlsFiles, door: str) -> None:
        """Raises OSError for files that cannot be used. `door` is which one it is, for the log."""
        self._seen = files.seen()
        self._files = files
        self._door = door
        files.require_usable()

    def renewed(self) -> bool:
        """True once after each change that can be used."""
        seen = self._files.seen()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._files.require_usable()
        except OSError:
            logger.bind(door=self._door).warning("changed certificate cannot be used; the old one stays")
            return False
        logger.bind(door=self._door).info("certificate renewed")
        return True


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files; raises OSError for files that cannot be used."""
    renewals = Renewals(files, "grpc")

    def configuration() -> grpc.ServerCertificateConfiguration:
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair])

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        try:
            return configuration() if renewals.renewed() else None
        except OSError:  # taken away between two looks
            return None

    return grpc.dynamic_ssl_server_credentials(configuration(), renewed)  # type: ignore[arg-type]  # None is "no change", as grpc's own words say


def _no_password() -> bytes:
    """OpenSSL would ask the terminal for the password of an encrypted key."""
    return b""
