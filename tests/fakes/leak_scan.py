"""Looks for a secret in everything that a mesh leaves behind, in every form in which it could lie there.

All canaries of one run begin with the same twelve random characters, so that one search finds each of them, also a cut one. The
forms are: UTF-8 (which JSON, URL and repr escapes leave as it is), UTF-16, base64 at its three alignments in both alphabets, and hex.
What a compressed form would hide is read uncompressed where it can be: tables as text (PostgreSQL compresses large values), messages
from the server (JetStream may compress its files), and batches of logs, which are zstd frames in messages and spools.
"""

import base64
import re
import secrets
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nats.errors
import psutil
import psycopg
import zstandard
from nats.js.api import StoreCompression
from nats.js.errors import NotFoundError
from psycopg import sql

from cli.embedded import EmbeddedMesh
from mesh.messaging.client import close_client, open_client, tls_context
from mesh.messaging.streams import STREAMS

STEM_CHARS: Final = 12
CONTEXT_BYTES: Final = 60
FRAME: Final = re.compile(re.escape(zstandard.FRAME_HEADER))
MAX_FRAME_BYTES: Final = 1024 * 1024
_ALPHABET: Final = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """Values that are found nowhere else in the world. Too short and too plain to be taken for secrets by their shape."""

    stem: str

    @classmethod
    def new(cls) -> "Canary":
        return cls("".join(secrets.choice(_ALPHABET) for _ in range(STEM_CHARS)))

    def value(self, place: str) -> str:
        """The value to plant at a place; ends in what JSON, SQL, URLs and shells have to escape."""
        return f"{self.stem}-{place}-ß'\"\\%&"


def needles(value: str) -> tuple[bytes, ...]:
    """The forms of a value, see the module."""
    plain = value.encode()
    shapes = {plain, value.encode("utf-16-le")[:-1], plain.hex().encode(), plain.hex().upper().encode()}
    for shift in range(3):
        # Without the characters that depend on what stands before and after.
        head = (0, 2, 3)[shift]
        tail = (0, 3, 2)[(len(plain) + shift) % 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b" " * shift + plain)
            shapes.add(text[head : len(text) - tail])
    return tuple(sorted(shapes))


class Scan:
    """Searches for named secrets; `plain` only as they are, for many keys in much data."""

    def __init__(self, wanted: Mapping[str, str], *, plain: bool = False) -> None:
        self._needles = [
            (name, needle)
            for name, value in wanted.items()
            for needle in ((value.encode(),) if plain else needles(value))
        ]

    def found(self, data: bytes) -> list[str]:
        """What is in the data, each with the place it stands at."""
        hits = [(name, data.find(needle)) for name, needle in self._needles]
        return [
            f"{name}: …{data[max(0, at - CONTEXT_BYTES) : at + CONTEXT_BYTES]!r}…"
            for name, at in hits
            if at >= 0
        ]

    def report(self, sources: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
        """The sources that hold something; empty when all are clean."""
        return {name: found for name, data in sources if (found := self.found(data))}


def uncompressed(data: bytes) -> bytes:
    """The data, and behind it what every zstd frame within it holds."""
    found = [data]
    for match in FRAME.finditer(data):
        with suppress(zstandard.ZstdError):  # four bytes that are there by chance, or half a frame
            frame = zstandard.ZstdDecompressor().decompressobj()
            found.append(frame.decompress(data[match.start() : match.start() + MAX_FRAME_BYTES]))
    return b"\n".join(found)


def files(folder: Path, *, but: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file below the folder that is not below one of `but`, by its relative name."""
    left_out = tuple(but)
    for path in sorted(folder.rglob("*")):
        if any(path.is_relative_to(other) for other in left_out):
            continue
        if path.is_file():
            with suppress(FileNotFoundError):  # gone meanwhile, as temporary files are
                yield str(path.relative_to(folder)), uncompressed(path.read_bytes())


def tables(connection: psycopg.Connection) -> Iterator[tuple[str, bytes]]:
    """Every row of every table as text, and the statements that the server remembers; bytes show as hex there."""
    names = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        " ORDER BY 1, 2"
    ).fetchall()
    for schema, table in names:
        query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, table))
        rows = connection.execute(query).fetchall()
        yield f"{schema}.{table}", "\n".join(row[0] for row in rows).encode()
    statements = connection.execute("SELECT query FROM pg_stat_activity").fetchall()
    yield "pg_stat_activity", "\n".join(row[0] or "" for row in statements).encode()


async def messages(mesh: EmbeddedMesh) -> list[tuple[str, bytes]]:
    """Every message that any stream still holds, headers included, as the server gives it out. Fails for a compressed stream."""

    async def ignore(_: Exception) -> None:
        """What goes wrong is raised by the call that waits for it."""

    async def nothing() -> None:
        """Nobody is to be told of the end."""

    tls = tls_context(mesh.data.tls_files("setup"))
    client = await open_client([mesh.nats_url], "setup", "_INBOX_setup", tls, "nats", ignore, nothing)
    read: list[tuple[str, bytes]] = []
    try:
        js = client.jetstream()
        for spec in STREAMS:
            info = await js.stream_info(spec.name)
            assert info.config.compression in (None, StoreCompression.NONE)
            for sequence in range(info.state.first_seq, info.state.last_seq + 1):
                try:
                    message = await js.get_msg(spec.name, sequence)
                except (NotFoundError, nats.errors.Error):
                    continue
                content = repr(message.headers).encode() + uncompressed(message.data or b"")
                read.append((f"{spec.name}/{message.subject}/{sequence}", content))
    finally:
        await close_client(client)
    return read


def processes(mesh: EmbeddedMesh) -> Iterator[tuple[str, psutil.Process]]:
    """Every process of the mesh and its children."""
    for child in mesh.supervisor.children:
        if child.pid is not None:
            leader = psutil.Process(child.pid)
            yield child.spec.name, leader
            yield from ((child.spec.name, below) for below in leader.children(recursive=True))


def visible(name: str, process: psutil.Process) -> Iterator[tuple[str, bytes]]:
    """What `ps` shows of a process: its arguments and its environment."""
    for what in ("cmdline", "environ"):
        try:
            yield f"{name}/{what}", Path(f"/proc/{process.pid}/{what}").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or shielded even from us
