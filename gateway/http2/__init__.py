"""gRPC calls over HTTP/2 in the gateway's own event loop.

grpc.aio carries every call through threads of its core and back, which makes a small REST request cost the gateway about twice what it does
this way (docs/benchmarks.md), and it never frees some of what it prepared for a stream that is given up. This package speaks the same protocol
(gRPC over HTTP/2, RFC 9113, RFC 7541) in the loop that serves the request. It does calls with one request message, answered once or by a
stream, and nothing else; streams of requests, health and the listening side of the gRPC door stay with grpc.aio.

    wire.py        frames and header blocks: bytes only, no state
    calls.py       one attempt of a call: its message, its answer, what its failure is called
    streamed.py    the same, answered by a stream: messages as they are read, windows that follow the reader
    connection.py  one connection: streams, flow control, pings, the end
    channel.py     a service: addresses, round robin, reconnecting, what may be tried again

What it is held to: whatever the peer does that the protocol forbids ends the connection, and every call on it fails by name. A call
is sent again only if the peer says that it did not touch it, or if the contract allows it.
"""
