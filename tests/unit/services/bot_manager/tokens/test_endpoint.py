"""X's token endpoint: what is sent, and what each answer means for the one token there is."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mesh.clock import SystemClock
from mesh.errors import (
    FailedPrecondition,
    MeshError,
    NotFound,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
)
from mesh.secret import Secret
from sandbox.app import running
from sandbox.settings import Settings
from services.bot_manager.tokens.endpoint import HttpTokenEndpoint
from services.bot_manager.tokens.port import AuthorizationCode
from services.bot_manager.x.http import XHttp
from tests.fakes.x_accounts import Authorized, authorize

CLOCK = SystemClock()
FIELDS = {
    "access_token": Secret("canary-access"),
    "refresh_token": Secret("canary-refresh"),
    "client_id": Secret("app"),
}


@dataclass
class Keys:
    """Secrets by client id, or a failure."""

    secrets: Mapping[str, Secret]
    failure: MeshError | None = None

    async def secret_of(self, client_id: str) -> Secret | None:
        """See ClientKeys."""
        if self.failure is not None:
            raise self.failure
        return self.secrets.get(client_id)


@asynccontextmanager
async def endpoint_at(url: str, keys: Keys | None = None) -> AsyncIterator[HttpTokenEndpoint]:
    """An endpoint with short limits."""
    http = XHttp(url, request_timeout=lambda: timedelta(seconds=0.5), clock=CLOCK)
    try:
        yield HttpTokenEndpoint(http, keys or Keys({}), CLOCK)
    finally:
        await http.close()


@dataclass
class Fixture:
    """A sandbox, a client of it and an endpoint that knows the client's secret."""

    url: str
    session: aiohttp.ClientSession
    app: Authorized
    endpoint: HttpTokenEndpoint

    async def fields(self) -> dict[str, Secret]:
        """Those of a secret for an account that was just connected."""
        pair = await self.endpoint.exchange_code(await self.app.code(), self.app.secret)
        return pair.over({"client_id": Secret(self.app.client_id)})

    async def fault(self, kind: str) -> None:
        """The next request for tokens goes wrong."""
        body = {"kind": kind, "endpoint": "token"}
        async with self.session.post(f"{self.url}/sandbox/faults", json=body) as response:
            assert response.status == 201


@pytest.fixture(params=["confidential", "public"])
async def x(request: pytest.FixtureRequest) -> AsyncIterator[Fixture]:
    async with running(Settings(port=0)) as url, aiohttp.ClientSession() as session:
        app = await authorize(session, url, confidential=request.param == "confidential")
        keys = Keys({} if app.secret is None else {app.client_id: app.secret})
        async with endpoint_at(url, keys) as endpoint:
            yield Fixture(url, session, app, endpoint)


async def refusal(endpoint: HttpTokenEndpoint, fields: Mapping[str, Secret]) -> MeshError:
    """The error of an exchange, which holds no token."""
    with pytest.raises(MeshError) as refused:
        await endpoint.exchange(fields)
    error = refused.value
    words = f"{error!r} {error.metadata} {error.__cause__!r} {error.__context__!r}"
    assert not [value for value in fields.values() if len(value.reveal()) > 3 and value.reveal() in words]
    return error


async def test_a_code_and_then_each_refresh_token_gives_the_next_pair(x: Fixture) -> None:
    """With the client's secret where there is one, by name alone where there is none."""
    first = await x.fields()
    pair = await x.endpoint.exchange(first)
    assert pair.expire_time is not None
    assert timedelta(hours=1) < pair.expire_time - CLOCK.now() <= timedelta(hours=2)
    assert "tweet.write" in pair.scope
    second = pair.over(first)
    assert second["refresh_token"] != first["refresh_token"]
    await x.endpoint.exchange(second)
    assert (await refusal(x.endpoint, first)).reason == "X_CREDENTIALS_REJECTED"


async def test_a_token_that_was_given_back_is_refused(x: Fixture) -> None:
    """Revoking is what an archived bot ends with."""
    fields = await x.fields()
    await x.endpoint.revoke(fields)
    error = await refusal(x.endpoint, fields)
    assert (type(error), error.reason) == (FailedPrecondition, "X_CREDENTIALS_REJECTED")


async def test_a_wrong_verifier_or_redirect_is_a_refusal(x: Fixture) -> None:
    """Somebody else's code is worth nothing."""
    right = await x.app.code()
    wrong = AuthorizationCode(right.code, Secret("w" * 43), right.client_id, right.redirect_uri)
    with pytest.raises(FailedPrecondition) as refused:
        await x.endpoint.exchange_code(wrong, x.app.secret)
    assert refused.value.reason == "X_CREDENTIALS_REJECTED"


@pytest.mark.parametrize(
    ("kind", "error", "good"),
    [
        ("error_500_before", OutcomeUnknown, True),
        ("error_500_after", OutcomeUnknown, False),
        ("timeout_before", OutcomeUnknown, True),
        ("timeout_after", OutcomeUnknown, False),
        ("reset_after", OutcomeUnknown, False),
        ("html_502", OutcomeUnknown, True),
        ("rate_limited", ResourceExhausted, True),
    ],
)
async def test_a_lost_answer_is_not_taken_for_a_refusal(
    x: Fixture, kind: str, error: type[MeshError], good: bool
) -> None:
    """X may have rotated the token or not; who declares it dead loses an account that could be saved."""
    fields = await x.fields()
    await x.fault(kind)
    assert type(await refusal(x.endpoint, fields)) is error
    if good:
        await x.endpoint.exchange(fields)
    else:
        assert (await refusal(x.endpoint, fields)).reason == "X_CREDENTIALS_REJECTED"


async def test_x_is_surely_not_asked_without_connection_client_or_its_keys() -> None:
    """Then the token stays as good as it was."""
    async with endpoint_at("http://127.0.0.1:9") as endpoint:
        assert type(await refusal(endpoint, FIELDS)) is Unavailable
        nobody = {name: value for name, value in FIELDS.items() if name != "client_id"}
        assert (await refusal(endpoint, nobody)).reason == "APP_CREDENTIALS_MISSING"
    for failure in (Unavailable("VAULT_SEALED", "sealed"), NotFound("APP_NOT_FOUND", "no such app")):
        async with endpoint_at("http://127.0.0.1:9", Keys({}, failure)) as endpoint:
            assert type(await refusal(endpoint, FIELDS)) is Unavailable


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "invalid_grant"}, "X_CREDENTIALS_REJECTED"),
        (
            400,
            {"error": "invalid_request", "error_description": "Value passed for the token was invalid."},
            "X_CREDENTIALS_REJECTED",
        ),
        (
            401,
            {"error": "unauthorized_client", "error_description": "Missing valid authorization header"},
            "X_REJECTED",
        ),
        (403, "<html>", "X_REJECTED"),
        (408, {}, "X_OUTCOME_UNKNOWN"),
        (302, {}, "X_OUTCOME_UNKNOWN"),
        (503, {"error": "invalid_grant"}, "X_OUTCOME_UNKNOWN"),
        (200, {"token_type": "bearer"}, "X_OUTCOME_UNKNOWN"),
        (200, ["canary"], "X_OUTCOME_UNKNOWN"),
        (200, "<html>", "X_OUTCOME_UNKNOWN"),
    ],
)
async def test_every_answer_has_one_meaning(status: int, body: Any, reason: str) -> None:
    """Only what X says about the token itself is about the token; wrong keys of the app are not."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/2/oauth2/token", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with endpoint_at(f"http://127.0.0.1:{runner.addresses[0][1]}") as endpoint:
            assert (await refusal(endpoint, FIELDS)).reason == reason
    finally:
        await runner.cleanup()
