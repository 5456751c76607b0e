"""The document as the gateway serves it, made once when somebody first asks.

Making it takes a third of a second for the mesh's contracts, so a thread does it and calls go on meanwhile. It never changes
while the process lives: its entity tag is its hash.
"""

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.openapi.document import About, Described, describe
from gateway.settings import GatewaySettings
from gateway.transcoding.schema import Schema
from mesh.version import VERSION

PRODUCT: Final = About(
    title="ViveSphere Bot Manager",
    version=VERSION,
    description="The REST interface of a self-hosted manager for fleets of X bots.",
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Bytes to serve and their entity tag, with its quotes."""

    body: bytes
    etag: bytes


def sheet(body: bytes) -> Sheet:
    """Bytes with a strong entity tag."""
    tag = base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:15]).decode()
    return Sheet(body, f'"{tag}"'.encode())


class Published:
    """The document of a schema, and what is made of it."""

    def __init__(self, schema: Schema, about: About) -> None:
        self._schema = schema
        self._about = about
        self._lock = asyncio.Lock()
        self._described: Described | None = None
        self._document: Sheet | None = None

    async def document(self) -> Sheet:
        """The document as JSON."""
        if self._document is None:
            described = await self.described()
            self._document = await asyncio.to_thread(lambda: sheet(_dump(described)))
        return self._document

    async def described(self) -> Described:
        """The document with its operations."""
        async with self._lock:
            if self._described is None:
                self._described = await asyncio.to_thread(describe, self._schema, self._about)
        return self._described


def _dump(described: Described) -> bytes:
    return json.dumps(described.json, ensure_ascii=False, separators=(",", ":")).encode()


def about_descriptors(descriptors: Path) -> About:
    """What is known of a descriptor set that is not the product's."""
    return About(title=descriptors.stem, version="1")


def write_document(descriptors: Path | None, out: Path) -> None:
    """Write the document of a descriptor set, or of the product's where it is None.

    Raises OSError, and SchemaError or TemplateError for a contract that cannot be served.
    """
    source = descriptors or Path(GatewaySettings.model_fields["descriptors"].default)
    about = PRODUCT if descriptors is None else about_descriptors(descriptors)
    described = describe(Schema(source.read_bytes()), about)
    out.write_text(json.dumps(described.json, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
