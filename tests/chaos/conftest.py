"""A whole mesh to break: two replicas of bot_manager, and an X that counts no limits and refuses no text twice, so that a double shows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from cli.embedded import SERVICE_STAGE, EmbeddedMesh
from cli.first_user import prepare_first_user
from cli.ports import LOOPBACK
from cli.rest import Api
from cli.up import UpOptions, start_processes, with_free_ports
from tests.fakes.replicas import second

PASSWORD = "a password of this test run"
SETTINGS = {"request_timeout": 1, "lease": 5, "settle": 0.3, "settle_window": 5, "longest_retry": 2}
"""Of `bot_manager.publish`: what takes minutes in production takes seconds here, in the same proportions."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """The mesh, and its public doors."""

    embedded: EmbeddedMesh
    api: Api
    x: Api

    def bot(self, handle: str) -> str:
        """An active bot that sends again what X does not show; its id."""
        account = self.x.post("/sandbox/accounts", {"handle": handle})
        policy = {"unknownOutcome": "UNKNOWN_OUTCOME_POLICY_SEND_AGAIN"}
        bot: dict[str, Any] = self.api.post("/api/v1/bots", {"handle": handle, "policy": policy})
        keys = {
            "consumerKey": account["consumer_key"],
            "consumerSecret": account["consumer_secret"],
            "accessToken": account["access_token"],
            "accessTokenSecret": account["access_token_secret"],
        }
        self.api.put(f"/api/v1/bots/{bot['id']}/credentials", {"oauth1": keys})
        return str(bot["id"])


@pytest.fixture
async def mesh(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mesh]:
    """Ready; stopped after the test."""
    monkeypatch.setenv("VIVESPHERE_SANDBOX_RATE_LIMITS", "off")
    monkeypatch.setenv("VIVESPHERE_SANDBOX_DUPLICATE_WINDOW_SECONDS", "0")
    folder = tmp_path_factory.mktemp("chaos")
    options = with_free_ports(UpOptions(data_dir=folder, http_port=0, grpc_port=0, sandbox_port=0))
    async with EmbeddedMesh(folder, fsync=False) as embedded:
        user = prepare_first_user(embedded.data, {"VIVESPHERE_ADMIN_PASSWORD": PASSWORD})
        await start_processes(embedded, options, user)
        await embedded.supervisor.start(SERVICE_STAGE, second(embedded, "bot_manager"))
        with (
            Api(f"http://{LOOPBACK}:{options.http_port}") as api,
            Api(f"http://{LOOPBACK}:{options.sandbox_port}") as x,
        ):
            await asyncio.to_thread(api.sign_in, "admin", PASSWORD)
            for name, value in SETTINGS.items():
                path = f"/api/v1/settings/bot_manager.publish.{name}"
                await asyncio.to_thread(api.call, "PATCH", path, {"value": value})
            yield Mesh(embedded, api, x)
