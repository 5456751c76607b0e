"""The server of front/backend in Python, for machines without Go: `python -m benchmarks.front.echo DESCRIPTORS`.

Prints its address and serves until its standard input ends. It is slower than a front of Go or C++, so that CPU of a front can be
measured with it and requests a second cannot.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "bench.v1.ThingService"


class Things:
    """Answers as front/backend/main.go does."""

    def __init__(self, descriptors: bytes) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
            pool.Add(file)
        self._messages = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.v1.{name}"))
            for name in (
                "Thing",
                "GetThingRequest",
                "ListThingsRequest",
                "ListThingsResponse",
                "WatchThingsRequest",
            )
        }

    def handlers(self) -> grpc.GenericRpcHandler:
        """All three methods."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetThing": self._method(grpc.unary_unary_rpc_method_handler, self._get, "GetThingRequest"),
                "ListThings": self._method(
                    grpc.unary_unary_rpc_method_handler, self._list, "ListThingsRequest"
                ),
                "WatchThings": self._method(
                    grpc.unary_stream_rpc_method_handler, self._watch, "WatchThingsRequest"
                ),
            },
        )

    def _method(self, make: Any, behaviour: Any, request: str) -> Any:
        return make(
            behaviour,
            request_deserializer=self._messages[request].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _thing(self, thing_id: str) -> Any:
        return self._messages["Thing"](
            id=thing_id,
            name="a thing of the benchmark",
            create_time={"seconds": 1767323045},
            revision=1234567890123,
            size=42,
        )

    async def _get(self, request: Any, context: Any) -> Any:
        return self._thing(request.id)

    async def _list(self, request: Any, context: Any) -> Any:
        things = [self._thing(f"thing-{at}") for at in range(request.page_size)]
        return self._messages["ListThingsResponse"](things=things)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        while True:
            yield self._thing("tick")
            await asyncio.sleep((request.interval_ms or 1000) / 1000)


async def main(descriptors: Path) -> None:
    """Serve."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Things(descriptors.read_bytes()).handlers(),))  # noqa: ASYNC240 - before anything is served
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
