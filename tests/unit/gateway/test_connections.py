"""Laws of looking after connections: who is ended, and who first when places are scarce. Real sockets, time as an argument."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from gateway.connections import Connections, Peer
from gateway.metrics import Metrics
from gateway.settings import Limits


@dataclass
class Served:
    """A listener of this process and its connections, both ends ours."""

    listener: socket.socket
    stack: ExitStack
    accepted: dict[Peer, socket.socket] = field(default_factory=dict)
    clients: dict[Peer, socket.socket] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.listener.getsockname()[1]
        return port

    def connect(self, address: str = "127.0.0.1") -> Peer:
        """A connection from this address."""
        client = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 5, (address, 0)))
        one, peer = self.listener.accept()
        self.accepted[peer] = self.stack.enter_context(one)
        self.clients[peer] = client
        return peer

    def say(self, peer: Peer, size: int) -> None:
        """Send this many bytes, and wait until the client has them."""
        self.accepted[peer].sendall(b"x" * size)
        assert len(self.clients[peer].recv(size, socket.MSG_WAITALL)) == size

    def ended(self) -> set[Peer]:
        """The connections whose clients read the end."""
        found = set()
        for peer, client in self.clients.items():
            client.setblocking(False)
            try:
                found |= {peer} if client.recv(1) == b"" else set()
            except BlockingIOError:
                continue
        return found


@contextmanager
def served() -> Iterator[Served]:
    """A listener, closed with everything at the end."""
    with ExitStack() as stack:
        yield Served(stack.enter_context(socket.create_server(("127.0.0.1", 0))), stack)


@pytest.fixture
def listening() -> Iterator[Served]:
    """One for the test."""
    with served() as one:
        yield one


def looking_after(one: Served, **limits: float) -> Connections:
    """What is tried here."""
    return Connections(one.port, Limits.model_validate(limits), tuple, Metrics())


def test_a_quiet_connection_ends_and_one_that_is_asked_over_does_not(listening: Served) -> None:
    """Quiet is who neither asks nor is sent an answer; pings of HTTP/2 do not count."""
    quiet, asking, answered, pinged = (listening.connect() for _ in range(4))
    connections = looking_after(listening, idle_timeout_seconds=10)
    for now in (0, 3, 6, 9):
        connections.look({asking}, now)
        listening.say(answered, 100)
        listening.say(pinged, 17)
    assert listening.ended() == set()
    connections.look({asking}, 12)
    assert listening.ended() == {quiet, pinged}


def test_nobody_else_is_touched(listening: Served) -> None:
    """The process has other sockets: of the gRPC door, of the services, of NATS."""
    with served() as other:
        other.connect()
        listening.connect()
        connections = looking_after(listening, idle_timeout_seconds=1)
        for now in range(5):
            connections.look((), now)
        assert len(listening.ended()) == 1
        assert other.ended() == set()


def test_when_places_are_scarce_the_quietest_make_room_first_those_of_the_greediest(
    listening: Served,
) -> None:
    """A flood from one address must not cost others their connections."""
    modest = listening.connect()
    greedy = [listening.connect("127.0.0.2") for _ in range(9)]
    connections = looking_after(listening, max_connections=10)
    connections.look({greedy[0]}, 0.0)
    assert listening.ended() == set()  # nobody has been quiet yet
    connections.look({greedy[0]}, 1.0)
    ended = listening.ended()
    assert len(ended) == 5
    assert ended < set(greedy[1:])
    assert modest not in ended


def test_accepted_sockets_inherit_what_the_listener_is_given(listening: Served) -> None:
    """So nothing has to be done for each connection: the kernel ends those whose peer is dead or takes nothing."""
    looking_after(listening, write_timeout_seconds=7).look((), 0.0)
    accepted = listening.accepted[listening.connect()]
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
