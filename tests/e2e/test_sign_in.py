"""Signed in, recognised everywhere, and out everywhere: the promises of authentication on the whole mesh, as a client sees them."""

import base64
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from cli.rest import Api, ApiError
from mesh.ids import new_id
from mesh.status import from_rpc_error
from tests.e2e.conftest import PASSWORD, Running
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1.authentication_service_pb2_grpc import AuthenticationServiceStub

PATIENCE_SECONDS = 30.0
SECRET = "a password for one test"  # of users that live as long as this run
EVERYWHERE = {
    "authentication": "/api/v1/users?pageSize=1",
    "configuration": "/api/v1/settings?pageSize=1",
    "secure_bot_data": f"/api/v1/bots/{new_id()}/secrets",
    "logging": "/api/v1/logs?pageSize=1",
    "bot_manager": "/api/v1/bots?pageSize=1",
}
"""A read at each service that needs a permission."""


def ask(running: Running, path: str, credential: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {credential}"}
    return httpx.get(running.url + path, headers=headers, timeout=10)


def reason(response: httpx.Response) -> str:
    details = response.json().get("details", []) if response.is_error else []
    return next((detail["reason"] for detail in details if "reason" in detail), "")


def recognised(running: Running, credential: str) -> bool:
    """Whether every service knows the caller; what it then says of the request does not matter."""
    return all(reason(ask(running, path, credential)) != "TOKEN_INVALID" for path in EVERYWHERE.values())


def until(holds: Callable[[], bool]) -> None:
    """Wait for it; a promise that is never kept is a failure, its speed is a figure of the benchmarks."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE_SECONDS
        time.sleep(0.02)


def refused_everywhere(running: Running, credential: str) -> bool:
    return all(reason(ask(running, path, credential)) == "TOKEN_INVALID" for path in EVERYWHERE.values())


@pytest.fixture
def person(api: Api) -> dict[str, Any]:
    """A new administrator."""
    name = f"person-{new_id()[-12:]}"
    return api.post("/api/v1/users", {"username": name, "password": SECRET, "roles": ["admin"]})


@contextmanager
def signed_in(running: Running, username: str, **more: str) -> Iterator[tuple[Api, dict[str, Any]]]:
    with Api(running.url) as client:
        body = {"username": username, "password": SECRET, **more}
        pair = client.post("/api/v1/auth/login", body)
        client._client.headers["authorization"] = f"Bearer {pair['accessToken']}"
        yield client, pair


def code(secret: str, steps: int = 0) -> str:
    """What the authenticator app shows, some steps from now. Waits at the end of a step, so that it is still that step when it is used."""
    while time.time() % 30 > 25:
        time.sleep(0.2)
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return TOTP(key, 6, SHA1(), 30).generate(int(time.time()) + 30 * steps).decode()  # noqa: S303


def test_who_signs_out_is_out_everywhere_and_stays_out(running: Running, person: dict[str, Any]) -> None:
    """JWT-080 and 081: the access token is refused by all five services, also after each of them was killed and came back."""
    with signed_in(running, person["username"]) as (client, pair):
        assert recognised(running, pair["accessToken"])
        client.post("/api/v1/auth/logout", {})
    until(lambda: refused_everywhere(running, pair["accessToken"]))
    for child in running.mesh.supervisor.children:
        if child.spec.name in EVERYWHERE and child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
    with Api(running.url) as again:
        until(lambda: signs_in(again))
    # Not "until": from the first answer on, a service that has just started must not believe the token.
    began = time.monotonic()
    answered: set[str] = set()
    while answered != EVERYWHERE.keys():
        assert time.monotonic() - began < PATIENCE_SECONDS
        for name, path in EVERYWHERE.items():
            told = ask(running, path, pair["accessToken"])
            assert told.status_code in (401, 503), (name, told.text)
            if told.status_code == 401:
                answered.add(name)


def signs_in(client: Api) -> bool:
    try:
        client.sign_in("admin", PASSWORD)
    except (ApiError, httpx.HTTPError):
        return False
    return True


def test_a_dismissed_colleague_is_out_everywhere(running: Running, api: Api, person: dict[str, Any]) -> None:
    """JWT-083: access and refresh tokens, at once."""
    with signed_in(running, person["username"]) as (client, pair):
        api.call("PATCH", f"/api/v1/users/{person['id']}", {"state": "USER_STATE_DISABLED"})
        until(lambda: refused_everywhere(running, pair["accessToken"]))
        with pytest.raises(ApiError) as refused:
            client.post("/api/v1/auth/token:refresh", {"refreshToken": pair["refreshToken"]})
        assert refused.value.reason == "TOKEN_INVALID"


def test_changed_roles_are_in_force_everywhere(running: Running, api: Api, person: dict[str, Any]) -> None:
    """The old token carries the old roles, so it ends; the session goes on with the new ones."""
    with signed_in(running, person["username"]) as (client, pair):
        api.call("PATCH", f"/api/v1/users/{person['id']}", {"roles": ["viewer"]})
        until(lambda: refused_everywhere(running, pair["accessToken"]))
        fresh = client.post("/api/v1/auth/token:refresh", {"refreshToken": pair["refreshToken"]})
        assert ask(running, EVERYWHERE["bot_manager"], fresh["accessToken"]).status_code == 200
        assert (
            reason(ask(running, EVERYWHERE["authentication"], fresh["accessToken"])) == "PERMISSION_MISSING"
        )


def test_a_second_factor_opens_what_asks_for_it(running: Running, person: dict[str, Any]) -> None:
    """From enrolment to a rotated signing key: what a stolen password alone does not do."""
    with signed_in(running, person["username"]) as (client, _):
        with pytest.raises(ApiError) as refused:
            client.post("/api/v1/auth/keys:rotate", {})
        assert (refused.value.status, refused.value.reason) == (403, "STEP_UP_REQUIRED")
        enrolled = client.post("/api/v1/auth/totp:enroll", {})
        assert enrolled["otpauthUri"].startswith("otpauth://totp/")
        codes = client.post("/api/v1/auth/totp:confirm", {"otp": code(enrolled["secret"], -1)})[
            "recoveryCodes"
        ]
        assert len(set(codes)) == 10
    with pytest.raises(ApiError) as refused, signed_in(running, person["username"]):
        pass
    assert (refused.value.status, refused.value.reason) == (401, "SECOND_FACTOR_REQUIRED")
    with signed_in(running, person["username"], otp=code(enrolled["secret"])) as (client, _):
        keys = client.post("/api/v1/auth/keys:rotate", {})["keys"]
        assert keys[0]["state"] == "SIGNING_KEY_STATE_NEXT"
        published = httpx.get(f"{running.url}/.well-known/jwks.json", timeout=10)
        assert {key["kid"] for key in published.json()["keys"]} >= {key["id"] for key in keys}
        assert published.headers["cache-control"] == "public, max-age=300"
    with signed_in(running, person["username"], otp=codes[0]):
        pass
    with pytest.raises(ApiError) as refused, signed_in(running, person["username"], otp=codes[0]):
        pass
    assert refused.value.reason == "LOGIN_FAILED"


def test_a_signing_key_that_is_given_up_is_refused_everywhere(
    running: Running, person: dict[str, Any]
) -> None:
    """JWT-051: whoever has stolen it is out in a moment; sessions go on with the new one."""
    with signed_in(running, person["username"]) as (client, first):
        enrolled = client.post("/api/v1/auth/totp:enroll", {})
        client.post("/api/v1/auth/totp:confirm", {"otp": code(enrolled["secret"], -1)})
        pair = client.post("/api/v1/auth/token:refresh", {"refreshToken": first["refreshToken"]})
        client._client.headers["authorization"] = f"Bearer {pair['accessToken']}"
        keys = client.post("/api/v1/auth/keys:rotate", {"compromised": True})["keys"]
        assert [key["state"] for key in keys].count("SIGNING_KEY_STATE_ACTIVE") == 1
        until(lambda: refused_everywhere(running, pair["accessToken"]))
        fresh = client.post("/api/v1/auth/token:refresh", {"refreshToken": pair["refreshToken"]})
        until(lambda: recognised(running, fresh["accessToken"]))


def test_an_api_key_works_at_every_door_until_it_is_revoked(running: Running, person: dict[str, Any]) -> None:
    """REST and gRPC, within its scope and no further, and nowhere once it was taken back. JWT-100."""
    with signed_in(running, person["username"]) as (client, _):
        made = client.post("/api/v1/apiKeys", {"displayName": "ci", "permissions": ["bots.read", "logs.*"]})
        key = made["key"]
        assert key.startswith("vsk_")
        assert "key" not in client.get("/api/v1/apiKeys")["apiKeys"][0]
        assert ask(running, EVERYWHERE["bot_manager"], key).status_code == 200
        assert ask(running, EVERYWHERE["logging"], key).status_code == 200
        assert reason(ask(running, EVERYWHERE["configuration"], key)) == "PERMISSION_MISSING"
        assert ask(running, "/api/v1/auth/me", key).json()["permissions"] == ["bots.read", "logs.*"]
        for path, body in (
            ("/api/v1/apiKeys", {"displayName": "more", "permissions": ["*"]}),
            ("/api/v1/auth/password:change", {"currentPassword": SECRET, "newPassword": "another password"}),
        ):
            told = httpx.post(
                running.url + path, headers={"authorization": f"Bearer {key}"}, json=body, timeout=10
            )
            assert reason(told) == "SESSION_REQUIRED"
        refresh = httpx.post(
            f"{running.url}/api/v1/auth/token:refresh", json={"refreshToken": key}, timeout=10
        )
        assert reason(refresh) == "TOKEN_INVALID"
        wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
        assert refused_everywhere(running, wrong)
        client.call("DELETE", f"/api/v1/apiKeys/{made['id']}", None)
        until(lambda: refused_everywhere(running, key))


async def test_the_grpc_door_takes_api_keys_too(running: Running) -> None:
    """The same credential, the same answer."""
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stub = AuthenticationServiceStub(channel)
        metadata = (("authorization", f"Bearer vsk_{'0' * 49}"),)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCurrentUser(pb.GetCurrentUserRequest(), metadata=metadata, timeout=10)
        assert from_rpc_error(caught.value).reason == "TOKEN_INVALID"


def test_while_revocations_are_not_heard_what_is_dangerous_waits(running: Running, api: Api) -> None:
    """A feed that is older than the bound: reads go on, writes of the high-risk kind say why they do not; and it heals by itself."""
    setting = "/api/v1/settings/authentication.revocations.max_staleness"
    api.call("PATCH", setting, {"value": 3})
    bot = api.post("/api/v1/bots", {"handle": f"calm_{new_id()[-8:]}"})
    with running.without("authentication"):
        until(lambda: reason(dangerous(running, api, bot["id"])) == "REVOCATIONS_STALE")
        assert api.get(f"/api/v1/bots/{bot['id']}")["id"] == bot["id"]
        ready = httpx.get(f"{running.url}/readyz", timeout=10).json()
        assert "revocations" in str(ready)
    until(lambda: reason(dangerous(running, api, bot["id"])) != "REVOCATIONS_STALE")
    until(lambda: not api._client.patch(setting, json={"value": 15}).is_error)


def dangerous(running: Running, api: Api, bot_id: str) -> httpx.Response:
    """A call that the contract marks as high risk, with rubbish that would be refused anyway."""
    return api._client.put(f"{running.url}/api/v1/bots/{bot_id}/credentials", json={})


def test_a_browser_never_sees_its_refresh_token(running: Running, person: dict[str, Any]) -> None:
    """Signing in, staying in and signing out by cookie; another site gets nowhere."""
    page = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    body = {"username": person["username"], "password": SECRET}
    with httpx.Client(base_url=running.url, headers=page, timeout=10) as browser:
        told = browser.post("/api/v1/auth/login", json=body)
        assert told.status_code == 200
        assert "refreshToken" not in told.json()
        assert "deviceToken" not in told.json()
        assert told.headers["cache-control"] == "no-store"
        assert {cookie.name for cookie in browser.cookies.jar} == {"vivesphere-refresh", "vivesphere-device"}
        assert all("HttpOnly" in cookie._rest for cookie in browser.cookies.jar)  # type: ignore[attr-defined]
        fresh = browser.post("/api/v1/auth/token:refresh", json={})
        assert fresh.status_code == 200
        foreign = browser.post(
            "/api/v1/auth/token:refresh", json={}, headers={"sec-fetch-site": "cross-site"}
        )
        assert (foreign.status_code, reason(foreign)) == (403, "CROSS_ORIGIN_REFUSED")
        token = {"authorization": f"Bearer {fresh.json()['accessToken']}"}
        assert browser.post("/api/v1/auth/logout", json={}, headers=token).status_code == 200
        assert {cookie.name for cookie in browser.cookies.jar} == {"vivesphere-device"}
