"""Rubbish in, a clear answer out: the right status, a google.rpc.Status that names field and reason, and nothing written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest

from cli.rest import Api, ApiError
from mesh.status import from_rpc_error
from tests.e2e.conftest import PASSWORD, Running
from vivesphere.authentication.v1 import authentication_service_pb2, authentication_service_pb2_grpc
from vivesphere.bot_manager.v1 import (
    bot_service_pb2,
    bot_service_pb2_grpc,
    post_service_pb2,
    post_service_pb2_grpc,
)

NOBODY = "0190c6a1-0000-7000-8000-00000000dead"


@pytest.fixture
def token(running: Running) -> str:
    with Api(running.url) as api:
        return str(api.sign_in("admin", PASSWORD)["accessToken"])


def request(running: Running, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    headers |= options.pop("headers", {})
    return httpx.request(method, running.url + path, headers=headers, timeout=10, **options)


def assert_refused(response: httpx.Response, status: int, reason: str, field: str = "") -> None:
    body = response.json()
    assert response.status_code == status, body
    details = {detail["@type"].rpartition(".")[2]: detail for detail in body["details"]}
    assert details["ErrorInfo"]["reason"] == reason, body
    assert details["ErrorInfo"]["domain"] == "vivesphere"
    if field:
        assert field in [violation["field"] for violation in details["BadRequest"]["fieldViolations"]], body
    assert response.headers["content-type"].startswith("application/json")


def test_wrong_password(running: Running) -> None:
    """One answer for every reason why a sign-in fails."""
    for username, password in (("admin", "not the password"), ("nobody-of-that-name", PASSWORD)):
        response = request(
            running, "POST", "/api/v1/auth/login", json={"username": username, "password": password}
        )
        assert_refused(response, 401, "LOGIN_FAILED")


def test_no_token_and_bad_tokens(running: Running, token: str) -> None:
    """A browser learns how to authenticate, and nothing about why its token is bad."""
    missing = request(running, "GET", "/api/v1/bots")
    assert_refused(missing, 401, "CREDENTIAL_MISSING")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    head, body, signature = token.split(".")
    for bad in ("rubbish", f"{head}.{body}.{signature[::-1]}", f"{token}="):
        assert_refused(request(running, "GET", "/api/v1/bots", bad), 401, "TOKEN_INVALID")


def test_unknown_bot_and_invalid_uuid(running: Running, token: str) -> None:
    """What does not exist is 404; what cannot exist is 400 and names the field."""
    assert_refused(request(running, "GET", f"/api/v1/bots/{NOBODY}", token), 404, "BOT_NOT_FOUND")
    assert_refused(request(running, "GET", "/api/v1/bots/not-a-uuid", token), 400, "INVALID_FIELD", "bot_id")
    posted = request(running, "POST", f"/api/v1/bots/{NOBODY}/posts", token, json={"text": "hello"})
    assert_refused(posted, 404, "BOT_NOT_FOUND")


def test_malformed_json_unknown_field_wrong_type(running: Running, token: str) -> None:
    """Strict JSON: a typing mistake must not become a post."""
    broken = request(running, "POST", "/api/v1/bots", token, content=b'{"handle": "x",}')
    assert_refused(broken, 400, "MALFORMED_REQUEST")
    unknown = request(running, "POST", "/api/v1/bots", token, json={"handle": "x", "handel": "y"})
    assert_refused(unknown, 400, "UNKNOWN_FIELD")
    assert "handel" in unknown.text
    parameter = request(running, "GET", "/api/v1/bots?pageSise=3", token)
    assert_refused(parameter, 400, "UNKNOWN_FIELD")
    assert "pageSise" in parameter.text


def test_a_nul_in_a_text_is_refused_by_name(running: Running, token: str) -> None:
    """PostgreSQL has no U+0000; who sends one learns where, instead of an incident."""
    for method, path, body, field in (
        ("POST", "/api/v1/auth/login", {"username": "a\0b", "password": "p" * 9}, "username"),
        ("POST", "/api/v1/bots", {"handle": "x", "displayName": "a\0b"}, "bot.display_name"),
        ("POST", "/api/v1/bots", {"handle": "x", "labels": {"k": "a\0b"}}, "bot.labels['k']"),
        (
            "POST",
            f"/api/v1/bots/{NOBODY}/posts",
            {"parts": [{"text": "a"}, {"text": "b\0"}]},
            "post.parts[1].text",
        ),
        ("GET", "/api/v1/logs?text=%00", None, "text"),
    ):
        assert_refused(request(running, method, path, token, json=body), 400, "INVALID_FIELD", field)


def test_a_body_over_the_limit(running: Running, token: str) -> None:
    """Refused before it is read."""
    response = request(running, "POST", "/api/v1/bots", token, content=b" " * (5 * 1024 * 1024))
    assert_refused(response, 413, "MESSAGE_TOO_LARGE")


def test_unknown_path_and_wrong_method(running: Running, token: str) -> None:
    """404 and 405 look like every other error, and say what there is."""
    assert_refused(request(running, "GET", "/api/v1/nothing-here", token), 404, "ROUTE_NOT_FOUND")
    wrong = request(running, "DELETE", "/api/v1/auth/login", token)
    assert_refused(wrong, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in wrong.headers["allow"]


def test_a_time_in_the_past_writes_nothing(running: Running, api: Api) -> None:
    """The field is named, and no post is left behind."""
    bot = api.post("/api/v1/bots", {"handle": "backwards"})
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    with pytest.raises(ApiError) as caught:
        api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "late", "scheduledTime": yesterday})
    assert (caught.value.status, caught.value.reason) == (400, "TIME_IN_PAST")
    assert caught.value.fields == ["post.scheduled_time"]
    assert api.get(f"/api/v1/bots/{bot['id']}/posts").get("posts", []) == []


def test_too_long_a_text_is_counted_as_x_counts(api: Api) -> None:
    """280 weighted units; a text that X would refuse is refused here, before anything is stored that could go out."""
    bot = api.post("/api/v1/bots", {"handle": "wordy"})
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    with pytest.raises(ApiError) as caught:
        api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "水" * 141, "scheduledTime": tomorrow})
    assert (caught.value.status, caught.value.reason) == (400, "POLICY_VIOLATION")
    assert api.get(f"/api/v1/bots/{bot['id']}/posts").get("posts", []) == []


def test_a_viewer_may_look_and_not_touch(running: Running, api: Api) -> None:
    """Roles hold across services: the permission comes from the contract, the role from configuration."""
    api.post("/api/v1/users", {"username": "onlooker", "password": "only for looking", "roles": ["viewer"]})
    with Api(running.url) as viewer:
        viewer.sign_in("onlooker", "only for looking")
        assert len(viewer.get("/api/v1/bots", pageSize=1).get("bots", [])) <= 1
        for path, body in (
            ("/api/v1/bots", {"handle": "forbidden"}),
            ("/api/v1/users", {"username": "x", "password": "y" * 9}),
        ):
            with pytest.raises(ApiError) as caught:
                viewer.post(path, body)
            assert (caught.value.status, caught.value.reason) == (403, "PERMISSION_MISSING")


async def test_grpc_says_the_same(running: Running, token: str) -> None:
    """The gRPC door answers with the same codes, reasons and fields."""
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        login = authentication_service_pb2_grpc.AuthenticationServiceStub(channel).Login
        bots = bot_service_pb2_grpc.BotServiceStub(channel)
        posts = post_service_pb2_grpc.PostServiceStub(channel)
        signed_in = (("authorization", f"Bearer {token}"),)
        past = post_service_pb2.CreatePostRequest(bot_id=NOBODY)
        past.post.text = "late"
        past.post.scheduled_time.FromSeconds(1_600_000_000)
        cases: list[tuple[Any, str, str]] = [
            (
                login(authentication_service_pb2.LoginRequest(username="admin", password="wrong wrong")),
                "UNAUTHENTICATED",
                "LOGIN_FAILED",
            ),
            (bots.ListBots(bot_service_pb2.ListBotsRequest()), "UNAUTHENTICATED", "CREDENTIAL_MISSING"),
            (
                bots.GetBot(bot_service_pb2.GetBotRequest(bot_id="x"), metadata=signed_in),
                "INVALID_ARGUMENT",
                "INVALID_FIELD",
            ),
            (
                bots.GetBot(bot_service_pb2.GetBotRequest(bot_id=NOBODY), metadata=signed_in),
                "NOT_FOUND",
                "BOT_NOT_FOUND",
            ),
        ]
        for call, code, reason in cases:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            error = from_rpc_error(caught.value)
            assert (error.code, error.reason) == (code, reason)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await posts.CreatePost(past, metadata=signed_in)
        assert from_rpc_error(caught.value).reason in {"BOT_NOT_FOUND", "TIME_IN_PAST"}
