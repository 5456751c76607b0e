"""Values as bytes, before they are encrypted: a line of JSON with the names and lengths, then the values one after another.

Not JSON throughout, whose escapes make up to six bytes of one: 2 MiB of values stay 2 MiB here whatever they consist of, which is what
the vault's storage is set up for.
"""

import json
from collections.abc import Iterator, Mapping

from mesh.errors import Internal
from mesh.secret import Secret


def pack(fields: Mapping[str, Secret]) -> bytes:
    """The values in the order of `fields`."""
    values = {name: secret.reveal().encode() for name, secret in fields.items()}
    head = json.dumps([[name, len(value)] for name, value in values.items()])
    return b"\n".join((head.encode(), b"".join(values.values())))


def unpack(packed: bytes) -> dict[str, Secret]:
    """What `pack` was given. Raises Internal for anything else."""
    try:
        return dict(_unpacked(packed))
    except (ValueError, TypeError):
        # The error would show what it could not read.
        pass
    raise Internal("INTERNAL", "a secret in the vault was not packed by this service")


def unpack_json(packed: bytes) -> dict[str, Secret]:
    """The values as older releases packed them: one JSON object. Raises Internal for anything else."""
    try:
        return {name: Secret(value) for name, value in json.loads(packed).items()}
    except (ValueError, TypeError, AttributeError):
        pass
    raise Internal("INTERNAL", "a secret in the vault was not packed by this service")


def _unpacked(packed: bytes) -> Iterator[tuple[str, Secret]]:
    head, _, values = packed.partition(b"\n")
    start = 0
    for name, length in json.loads(head):
        end = start + length
        yield name, Secret(values[start:end].decode())
        start = end
    if start != len(values):
        raise ValueError("too short or too long")
