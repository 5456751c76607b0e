"""Accounts by OAuth 2.0 through the public doors: tokens that X ends, a callback from anywhere, and what is left of a bot that is no more."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from cli.rest import Api, ApiError
from sandbox.oauth2 import challenge_of
from tests.e2e.conftest import Running
from tests.e2e.test_main_job import eventually, settled

CALLBACK = "http://127.0.0.1:8080/oauth/callback"
SCOPES = "tweet.read tweet.write users.read offline.access"
VERIFIER = "v" * 43
BROWSER = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
}
"""What a browser sends that X has sent here."""


@dataclass
class Connected:
    """A bot with tokens of X, and its account there."""

    bot: dict[str, Any]
    user_id: str
    access_token: str


def tokens_of(sandbox_url: str, user_id: str) -> dict[str, Any]:
    """What a client gets that somebody else has written."""
    with httpx.Client(base_url=sandbox_url, timeout=10) as x:
        client = x.post("/sandbox/clients", json={"redirect_uris": [CALLBACK]}).json()
        x.post("/sandbox/consent", json={"user_id": user_id})
        asked = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "state": "s" * 32,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        back = x.get(f"/i/oauth2/authorize?{urlencode(asked)}").headers["location"]
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        keys = (client["client_id"], client["client_secret"])
        return {**x.post("/2/oauth2/token", data=form, auth=keys).raise_for_status().json(), **client}


def connected(running: Running, api: Api, sandbox: Api, handle: str) -> Connected:
    """A bot that was given tokens obtained elsewhere."""
    account = sandbox.post("/sandbox/accounts", {"handle": handle})
    given = tokens_of(running.sandbox, account["user_id"])
    bot = api.post("/api/v1/bots", {"handle": handle})
    oauth2 = {
        "accessToken": given["access_token"],
        "refreshToken": given["refresh_token"],
        "scopes": given["scope"].split(),
        "clientId": given["client_id"],
        "clientSecret": given["client_secret"],
    }
    stored = api.put(f"/api/v1/bots/{bot['id']}/credentials", {"oauth2": oauth2})
    assert (stored["verified"], stored["state"]) == (True, "BOT_STATE_ACTIVE")
    return Connected(bot, account["user_id"], given["access_token"])


def begun(running: Running, api: Api, sandbox: Api, handle: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A bot whose app is registered with X, sent on its way to X's page; bot and answer of StartConnect."""
    callback = f"{running.url}/oauth/callback"
    client = sandbox.post("/sandbox/clients", {"redirect_uris": [callback]})
    secret = client["client_secret"]
    given = {"displayName": handle, "clientId": client["client_id"], "credentials": {"clientSecret": secret}}
    app = api.post("/api/v1/apps", given)
    assert (app["callbackUrl"], app["credentialsVersion"]) == (callback, 1)
    assert secret not in str(app)
    bot = api.post("/api/v1/bots", {"handle": handle, "appId": app["id"]})
    started = api.post(f"/api/v1/bots/{bot['id']}:connect", {"returnPath": "/bots"})
    assert started["callbackUrl"] == callback
    return bot, started


def test_an_account_is_connected_by_a_click_and_publishes(running: Running, api: Api, sandbox: Api) -> None:
    """From the click in the console to a post on X, through a browser that carries no token of ours; the way back works once."""
    account = sandbox.post("/sandbox/accounts", {"handle": "clicked"})
    sandbox.post("/sandbox/consent", {"user_id": account["user_id"]})
    bot, started = begun(running, api, sandbox, "clicked")
    with httpx.Client(headers=BROWSER, timeout=10) as browser:
        back = browser.get(started["authorizationUrl"]).headers["location"]
        assert back.startswith(f"{running.url}/oauth/callback?")
        page = browser.get(back)
        again = browser.get(back)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "@clicked is connected" in page.text
    assert 'href="/bots"' in page.text
    assert (again.status_code, "CONNECT_STATE_INVALID" in again.text) == (400, True)
    path = f"/api/v1/bots/{bot['id']}"
    found = api.get(path)
    assert (found["state"], found["xUserId"]) == ("BOT_STATE_ACTIVE", account["user_id"])
    assert found["credentials"]["kind"] == "CREDENTIALS_KIND_OAUTH2"
    post = api.post(f"{path}/posts", {"text": "by my own consent"}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    shown = sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]
    assert [one["text"] for one in shown] == ["by my own consent"]
    quota = api.get(f"{path}/quota")
    [posts] = [
        limit
        for limit in quota["rateLimits"]
        if (limit["operation"], limit["scope"], limit["window"])
        == ("POST /2/tweets", "RATE_LIMIT_SCOPE_USER", "900s")
    ]
    assert (posts["limit"] - posts["remaining"], posts["reportedByX"]) == (1, True)
    assert quota["appId"] == bot["appId"]
    assert int(quota["appSpend"]["todayUsdMicros"]) >= int(quota["spend"]["todayUsdMicros"]) > 0


@pytest.mark.parametrize("how", ["by the person", "by another bot", "by somebody between"])
def test_a_connection_that_is_refused_says_why_and_stores_nothing(
    running: Running, api: Api, sandbox: Api, how: str
) -> None:
    """On the page that the person sees, whatever came with the answer; the bot stays as it was."""
    handle = f"refused_{how.replace(' ', '_')}"
    other = connected(running, api, sandbox, f"not_{handle}")
    sandbox.post("/sandbox/consent", {"user_id": other.user_id})
    bot, started = begun(running, api, sandbox, handle)
    with httpx.Client(headers=BROWSER, timeout=10) as browser:
        back = browser.get(started["authorizationUrl"]).headers["location"]
        if how == "by the person":
            state = parse_qs(urlsplit(back).query)["state"][0]
            answer = {
                "state": state,
                "error": "access_denied",
                "error_description": "<script>alert(1)</script>",
            }
            back = f"{running.url}/oauth/callback?{urlencode(answer)}"
        elif how == "by somebody between":
            back = str(httpx.URL(back).copy_set_param("iss", "https://elsewhere.example"))
        page = browser.get(back)
    status, reason = (409, "X_ACCOUNT_TAKEN") if how == "by another bot" else (400, "CONNECT_REFUSED")
    assert (page.status_code, reason in page.text) == (status, True), page.text
    assert "<script" not in page.text
    found = api.get(f"/api/v1/bots/{bot['id']}")
    assert (found["state"], "credentials" in found) == ("BOT_STATE_DRAFT", False)


def test_posts_go_on_when_x_ends_the_access_token(running: Running, api: Api, sandbox: Api) -> None:
    """Nobody has to do anything: the token is refreshed once, and each post is on X once."""
    account = connected(running, api, sandbox, "refreshed")
    path = f"/api/v1/bots/{account.bot['id']}"
    for text in ("before", "after"):
        post = api.post(f"{path}/posts", {"text": text}, publishNow="true")
        assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
        assert sandbox.post("/sandbox/oauth2/expire", {"user_id": account.user_id})["expired"] == 1
    shown = sandbox.get("/sandbox/posts", user_id=account.user_id)["posts"]
    assert [post["text"] for post in shown] == ["before", "after"]
    credentials = api.get(path)["credentials"]
    assert (credentials["kind"], credentials["version"]) == ("CREDENTIALS_KIND_OAUTH2", 2)
    verified = api.post(f"{path}/credentials:verify", {})
    assert (verified["verified"], verified["credentials"]["version"]) == (True, 3)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "x" * 43, "code": "c"},
        {"state": "x" * 43, "error": "access_denied", "error_description": "<script>alert(1)</script>"},
        {"state": "<script>alert(1)</script>", "code": "c"},
    ],
)
def test_a_callback_from_nowhere_gets_a_page_without_script_and_the_request_id(
    running: Running, query: dict[str, str]
) -> None:
    """A person reads it, and whoever looks into the logs finds the call; a program gets the same as JSON."""
    with httpx.Client(base_url=running.url, timeout=10) as http:
        page = http.get("/oauth/callback", params=query, headers=BROWSER)
        plain = http.get("/oauth/callback", params=query)
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "CONNECT_STATE_INVALID" in page.text
    assert page.headers["x-request-id"] in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert plain.json()["details"][0]["reason"] == "CONNECT_STATE_INVALID"


def test_a_bot_without_an_app_is_told_so_before_anybody_is_sent_to_x(api: Api) -> None:
    """There is no client to name there."""
    bot = api.post("/api/v1/bots", {"handle": "without_an_app"})
    with pytest.raises(ApiError) as refused:
        api.post(f"/api/v1/bots/{bot['id']}:connect", {})
    assert refused.value.reason == "APP_CREDENTIALS_MISSING"


@pytest.mark.parametrize("how", ["archive", "delete"])
def test_a_bot_that_is_no_more_leaves_no_secret_and_no_token_that_works(
    running: Running, api: Api, sandbox: Api, how: str
) -> None:
    """Here and at X; and the account may have another bot."""
    account = connected(running, api, sandbox, f"retired_{how}")
    path = f"/api/v1/bots/{account.bot['id']}"
    if how == "archive":
        assert api.post(f"{path}:archive", {})["state"] == "BOT_STATE_ARCHIVED"
    else:
        api.call("DELETE", path)

    def state() -> str:
        return str(api.get(f"{path}/secrets/x_oauth2")["state"])

    assert eventually(state, lambda seen: seen == "SECRET_STATE_DESTROYED") == "SECRET_STATE_DESTROYED"
    headers = {"Authorization": f"Bearer {account.access_token}"}
    assert httpx.get(f"{running.sandbox}/2/users/me", headers=headers, timeout=10).status_code == 401
    bots = api.get("/api/v1/bots", filter=f'handle = "retired_{how}"').get("bots", [])
    assert [bot["state"] for bot in bots] == (["BOT_STATE_ARCHIVED"] if how == "archive" else [])
    again = api.post("/api/v1/bots", {"handle": f"retired_{how}"})
    assert again["id"] != account.bot["id"]
