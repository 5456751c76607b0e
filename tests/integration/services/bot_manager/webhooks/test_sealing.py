"""Signing secrets with the real secure_bot_data and its vault."""

import pytest

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.errors import InvalidArgument
from mesh.ids import new_id
from services.bot_manager.webhooks.sealing import Sealer, new_secret
from tests.integration.services.secure_bot_data.test_process import channel_as
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub


async def test_a_secret_comes_back_for_its_own_webhook_only(
    engines: EmbeddedMesh, secure_bot_data: None
) -> None:
    """A ciphertext copied to another webhook's row is worthless there."""
    webhook_id, secret = new_id(), new_secret()
    async with channel_as(engines, "bot_manager") as channel:
        stub = BotSecretServiceStub(channel)
        ciphertext = await Sealer(stub, SystemClock()).seal(webhook_id, secret)
        assert secret.reveal() not in ciphertext
        assert await Sealer(stub, SystemClock()).open(webhook_id, ciphertext) == secret
        with pytest.raises(InvalidArgument):
            await Sealer(stub, SystemClock()).open(new_id(), ciphertext)
