"""Errors survive the wire: what one process raises, its caller catches."""

from datetime import timedelta

import grpc
import grpc.aio
import pytest

from mesh.errors import BY_CODE, FieldViolation, InvalidArgument, MeshError, ResourceExhausted, Unavailable
from mesh.status import DETAILS_KEY, from_rpc_error, to_status


def over_the_wire(error: MeshError) -> MeshError:
    status = to_status(error)
    return from_rpc_error(
        grpc.aio.AioRpcError(
            getattr(grpc.StatusCode, error.code),
            grpc.aio.Metadata(),
            grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString())),
            details=status.message,
        )
    )


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=lambda kind: kind.__name__)
def test_every_class_arrives_as_itself(kind: type[MeshError]) -> None:
    """A caller that handles NotFound must see NotFound, reason and metadata included."""
    seen = over_the_wire(kind("BOT_NOT_FOUND", "no such bot", metadata={"botId": "b"}))
    assert (type(seen), seen.reason, seen.message, seen.metadata) == (
        kind,
        "BOT_NOT_FOUND",
        "no such bot",
        {"botId": "b"},
    )


def test_violations_and_retry_hints_arrive() -> None:
    """The person at the other end needs the field, the machine needs the delay."""
    bad = over_the_wire(
        InvalidArgument("INVALID_FIELD", "wrong", violations=[FieldViolation("post.text", "too long")])
    )
    assert bad.violations == (FieldViolation("post.text", "too long"),)
    full = over_the_wire(ResourceExhausted("OVERLOADED", "full", retry_after=timedelta(seconds=1.5)))
    assert full.retry_after == timedelta(seconds=1.5)


def test_an_error_of_grpc_itself_does_not_carry_its_text_on() -> None:
    """gRPC's own messages name addresses and files; none of that belongs to a caller."""
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="ipv4:10.0.0.1:9000 refused",
    )
    seen = from_rpc_error(error)
    assert isinstance(seen, Unavailable)
    assert "10.0.0.1" not in seen.message


def test_broken_details_are_survived() -> None:
    """A foreign server may send anything in the details; the code still counts."""
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((DETAILS_KEY, b"\xff\xff")),
        details="x",
    )
    assert from_rpc_error(error).code == "NOT_FOUND"
