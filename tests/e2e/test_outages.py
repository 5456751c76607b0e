"""A part goes away: what needs it says so quickly, the rest works on, and all recovers without a restart of any service."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cli.rest import Api, ApiError
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_main_job import connected_bot, eventually, settled

QUICKLY_SECONDS = 8.0
"""Not a figure of speed: far below the 30 s deadline that a call without an answer would take."""


def refused(call: Callable[[], Any]) -> ApiError:
    """How the call was refused, which must not have taken until its deadline."""
    began = time.monotonic()
    with pytest.raises(ApiError) as caught:
        call()
    assert time.monotonic() - began < QUICKLY_SECONDS
    return caught.value


def ready(running: Running) -> tuple[int, dict[str, Any]]:
    response = httpx.get(f"{running.url}/readyz", timeout=10)
    return response.status_code, response.json()


def pids(running: Running) -> dict[str, int | None]:
    """Processes of our own, which must outlive every outage."""
    engines = {"postgres", "nats", "openbao"}
    return {c.spec.name: c.pid for c in running.mesh.supervisor.children if c.spec.name not in engines}


def test_without_the_vault_secrets_wait_and_the_rest_works(running: Running, api: Api, sandbox: Api) -> None:
    """Storing credentials needs the vault; reading bots does not. Posts wait and go out when it is back."""
    bot, account = connected_bot(api, sandbox, "vaulted")
    before = pids(running)
    with running.without("openbao"):
        credentials = {
            "consumerKey": "a",
            "consumerSecret": "b",
            "accessToken": "c",
            "accessTokenSecret": "d",
        }
        body = {"oauth1": credentials, "skipVerification": True}
        error = refused(lambda: api.put(f"/api/v1/bots/{bot['id']}/credentials", body))
        assert (error.status, error.reason) == (503, "VAULT_UNAVAILABLE")
        assert api.get(f"/api/v1/bots/{bot['id']}")["id"] == bot["id"]
        post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "after the vault"}, publishNow="true")
        assert eventually(lambda: ready(running)[0], lambda code: code == 503) == 503
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1
    assert eventually(lambda: ready(running)[0], lambda code: code == 200) == 200
    assert pids(running) == before


def test_without_nats_calls_are_answered_and_posts_wait(running: Running, api: Api, sandbox: Api) -> None:
    """The outbox keeps what was promised; nothing acknowledged is lost, and nothing is sent twice afterwards."""
    bot, account = connected_bot(api, sandbox, "unheard")
    before = pids(running)
    with running.without("nats"):
        post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "after the silence"}, publishNow="true")
        assert api.get(f"/api/v1/posts/{post['id']}")["state"] != "POST_STATE_PUBLISHED"
        assert eventually(lambda: ready(running)[0], lambda code: code == 503) == 503
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1
    created = eventually(
        lambda: api.get("/api/v1/audit/events", botId=bot["id"], pageSize=100).get("events", []),
        lambda events: any(event["action"].endswith("/CreatePost") for event in events),
    )
    assert any(event["action"].endswith("/CreatePost") for event in created)
    assert pids(running) == before


def test_without_the_database_calls_are_refused_at_once(running: Running, api: Api, sandbox: Api) -> None:
    """Unavailable with a reason instead of a hanging request; public keys and health are still there."""
    bot, account = connected_bot(api, sandbox, "stateless")
    before = pids(running)
    with running.without("postgres"):
        for call in (
            lambda: api.get(f"/api/v1/bots/{bot['id']}"),
            lambda: api.post("/api/v1/bots", {"handle": "nowhere"}),
            lambda: api.sign_in("admin", PASSWORD),
        ):
            error = refused(call)
            assert (error.status, error.reason) == (503, "DATABASE_UNAVAILABLE")
        assert httpx.get(f"{running.url}/healthz", timeout=5).status_code == 200
        assert httpx.get(f"{running.url}/.well-known/jwks.json", timeout=10).status_code == 200
    assert eventually(lambda: ready(running)[0], lambda code: code == 200) == 200
    post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "back again"}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1
    assert pids(running) == before


def test_without_a_service_the_gateway_names_it(running: Running, api: Api) -> None:
    """A service that is down answers 503 with its name; its neighbours do not notice."""
    with running.without("logging"):
        error = refused(lambda: api.get("/api/v1/logs"))
        assert (error.status, error.reason) == (503, "SERVICE_UNAVAILABLE")
        assert "logging" in error.message
        assert "bots" in api.get("/api/v1/bots", pageSize=1)
    assert "records" in eventually(lambda: _logs(api), lambda seen: "records" in seen)


def _logs(api: Api) -> dict[str, Any]:
    try:
        return api.get("/api/v1/logs", pageSize=1)
    except ApiError as error:
        return {"refused": error.reason}
