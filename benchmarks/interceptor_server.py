"""The server process of the interceptor benchmark: `python -m benchmarks.interceptor_server bare|full FOLDER`.

Prints its port and an access token, then serves until its standard input ends.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import uvloop
from loguru import logger

from cli.layout import DataDir
from cli.pki import issue_certificates
from mesh.server import server_credentials
from tests.fakes.mesh import serving
from vivesphere.bot_manager.v1 import bot_service_pb2, bot_service_pb2_grpc

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

ROLES = {"viewer": frozenset({"bots.read"})}


class Echo(bot_service_pb2_grpc.BotServiceServicer):
    """Does nothing, so that everything measured is what stands around it."""

    async def GetBot(
        self, request: bot_service_pb2.GetBotRequest, context: "Context"
    ) -> bot_service_pb2.GetBotResponse:
        return bot_service_pb2.GetBotResponse()


async def main(kind: str, folder: Path) -> None:
    """Serve one of the two."""
    register = bot_service_pb2_grpc.add_BotServiceServicer_to_server
    if kind == "full":
        logger.remove()
        logger.add(folder / "log", level="INFO")
        services = ["vivesphere.bot_manager.v1.BotService"]
        async with serving(folder, "bot_manager", services, [(register, Echo())], roles=ROLES) as server:
            print(server.port, server.issuer.token("viewer", life=800), flush=True)
            await asyncio.to_thread(sys.stdin.read)
        return
    data = DataDir(folder)
    issue_certificates(data, ("bot_manager", "gateway"))
    bare = grpc.aio.server()
    register(Echo(), bare)
    port = bare.add_secure_port("127.0.0.1:0", server_credentials(data.tls_files("bot_manager")))
    await bare.start()
    print(port, "none", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await bare.stop(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2])))
