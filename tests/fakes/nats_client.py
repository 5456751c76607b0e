"""What a test needs to know of nats-py."""

from nats.aio.client import Client


async def settled(client: Client) -> None:
    """Returns when the server has taken everything that was sent on the connection, subscriptions above all.

    One `flush` does not tell: where the server's second INFO overtakes the handshake's PONG, nats-py leaves that PONG to be read later, and
    it ends the first flush of the connection before the server has seen what came after the handshake.
    """
    for _ in range(2):
        await client.flush(timeout=3)
