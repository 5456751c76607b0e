"""Free and taken ports."""

import os
import socket
from collections.abc import Iterator

import pytest

from cli.ports import PortTaken, assign_ports, free_port, is_free, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_refused_with_port_process_and_remedy(taken: int) -> None:
    """The person who reads it must know what to stop, or what to change."""
    with pytest.raises(PortTaken) as told:
        require_free(taken, "the console", "--http-port")
    assert str(taken) in str(told.value)
    assert f"pid {os.getpid()}" in str(told.value)
    assert "--http-port" in str(told.value)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """It would otherwise surface as an OverflowError deep inside."""
    with pytest.raises(PortTaken, match="--grpc-port"):
        require_free(port, "gRPC", "--grpc-port")


def test_zero_means_any_free_port() -> None:
    """Two meshes on one machine."""
    assert is_free(require_free(0, "gRPC", "--grpc-port"))


def test_remembered_ports_are_taken_again_while_they_are_free(taken: int) -> None:
    """Addresses survive a restart where they can, and never collide."""
    mine = free_port()
    ports = assign_ports(["a", "b", "c"], {"a": mine, "b": taken, "c": mine})
    assert ports["a"] == mine
    assert len({*ports.values(), taken}) == 4
