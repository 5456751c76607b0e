"""docker-compose.yml started for real, with processes in the place of containers."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cli.layout import DataDir
from cli.ports import LOOPBACK
from cli.setup.vault_init import SEALED, health
from tests.integration.deploy.host import Host
from tests.unit.deploy.compose import load

ADMIN_PASSWORD = "a first password for the composition"
READY_SECONDS = 60  # five Python programs starting at once beside other tests


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """The composition with the sandbox's profile, started."""
    compose = load({"VIVESPHERE_X_API_URL": "http://sandbox:8090"})
    host = Host(tmp_path, compose, {"postgres_password": "made-up-1", "admin_password": ADMIN_PASSWORD})
    try:
        await host.up()
        yield host
    finally:
        await host.stop()


async def answers(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """The first answer 200, or the last one when the time is up."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            answer = await client.get(path)
        except httpx.TransportError:
            answer = httpx.Response(503, text="no connection")
        if answer.status_code == 200 or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(0.2)


async def test_the_composition_comes_up_signs_in_and_survives_a_sealed_vault(
    host: Host, tmp_path: Path
) -> None:
    """No Docker engine is at hand where this is developed, so what is written there must be proved in another way."""
    url = f"http://{LOOPBACK}:{host.port('gateway', 8080)}"
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        ready = await answers(client, "/readyz")
        assert ready.status_code == 200, ready.text

        for name in (
            "authentication",
            "gateway",
            "sandbox",
        ):  # the services share one check, the engines were waited for
            assert await host.healthy(name), name

        sign_in = {"username": "admin", "password": ADMIN_PASSWORD}
        answer = await client.post("/api/v1/auth/login", json=sign_in)
        assert answer.status_code == 200, answer.text

        await host.crash("vault")
        address = f"https://{LOOPBACK}:{host.port('vault', 8200)}"
        authority = DataDir(tmp_path / "volumes" / "mesh").tls_files("setup").ca_file
        assert await asyncio.to_thread(health, address, authority) == SEALED
        await host.run("setup")  # as the next `docker compose up` does
        ready = await answers(client, "/readyz")
        assert ready.status_code == 200, ready.text
