"""Errors as Connect writes them (connectrpc.com/docs/protocol#error-end-stream).

A detail keeps its bytes, which clients read; beside them stands the same in JSON for people, where the type is known.
"""

from typing import Final

from google.rpc import status_pb2
from protobuf import Registry, message_to_json_value

from gateway.protocols.failure import NAMES, Failure
from gateway.protocols.headers import unpadded
from gateway.transcoding.errors import Json

# The names differ from gRPC's in one letter.
CODES: Final = {code: "canceled" if name == "CANCELLED" else name.lower() for code, name in NAMES.items()}


def error_json(failure: Failure, registry: Registry) -> Json:
    """The Error object; `registry` resolves the types of details."""
    made: Json = {"code": CODES[failure.code]}
    if failure.message:
        made["message"] = failure.message
    if details := _details(failure.details, registry):
        made["details"] = details
    return made


def _details(serialised: bytes | None, registry: Registry) -> list[Json]:
    if serialised is None:
        return []
    try:
        entries = status_pb2.Status.FromString(serialised).details
    except Exception:  # upb's DecodeError; a service's garbage must not hide its code and message
        return []
    return [_detail(entry.type_url.rpartition("/")[2], entry.value, registry) for entry in entries]


def _detail(type_name: str, value: bytes, registry: Registry) -> Json:
    made: Json = {"type": type_name, "value": unpadded(value)}
    desc = registry.message(type_name)
    if desc is not None:
        try:
            made["debug"] = message_to_json_value(desc.type.from_binary(value), registry=registry)
        except (ValueError, TypeError, RecursionError):  # the bytes are no such message
            return made
    return made
