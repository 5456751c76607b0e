"""Where things lie in a data directory, and how private files are written.

    lock                       held while a supervisor runs on the directory
    run/state.json             what runs now, and the ports to try again next time; beside it the engines' configuration
    logs/<name>.log[.1]        what each process prints
    tls/<name>/                tls.crt, tls.key, ca.crt (the names cert-manager mounts); tls/ca/ holds the authority
    secrets/<name>/            database_password, vault_role_id, vault_secret_id; secrets/setup/ holds what only set-up may read
    postgres/ nats/ openbao/   the engines' data
    services/<name>/           a service's own directory (spool)

Directories are 0700 and files 0600. Nothing here knows what the secrets mean.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of one identity's certificate, its private key, and the authority it trusts (all PEM)."""

    cert_file: Path
    key_file: Path
    ca_file: Path


@dataclass(frozen=True, slots=True)
class DataDir:
    """Names the paths below one data directory; `root` must be absolute."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def state(self) -> Path:
        return self.root / "run" / "state.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def nats_configuration(self) -> Path:
        return self.root / "run" / "nats.conf"

    def tls_files(self, name: str) -> TlsFiles:
        """The three TLS files of identity `name`."""
        folder = self.tls / name
        return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def secret(self, owner: str, name: str) -> Path:
        """The file of one secret of `owner` (a service, or `setup`)."""
        return self.root / "secrets" / owner / name

    def engine(self, name: str) -> Path:
        """The directory of an engine's data."""
        return self.root / name

    def service(self, name: str) -> Path:
        """The directory a service may write to."""
        return self.root / "services" / name


def make_private_directory(path: Path) -> Path:
    """Makes `path` and its missing parents with mode 0700 and returns it; an existing directory keeps its mode."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Replaces `path` atomically by a file of mode 0600; its directory is made when missing. The old content is never truncated."""
    make_private_directory(path.parent)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def ensure_secret(path: Path, random_bytes: int = 24) -> str:
    """Reads the secret in `path`, or writes a fresh random one (URL-safe text) there first."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(random_bytes)
        write_private(path, secret)
        return secret
