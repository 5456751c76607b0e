"""OAuth 2.0 as X grants it: consent, codes with PKCE, tokens that end, refresh tokens that are good once."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from sandbox.app import running
from sandbox.oauth2 import challenge_of
from sandbox.settings import Settings
from tests.unit.sandbox.clients import Account, Answer, FakeClock, X

CALLBACK = "http://127.0.0.1:8080/oauth/callback"
SCOPES = "tweet.read tweet.write users.read media.write offline.access"
VERIFIER = "v" * 43


@dataclass
class App:
    """A client of X with its keys."""

    x: X
    client_id: str
    secret: str

    async def authorize(self, follow: bool = False, **changes: str) -> Answer:
        """The browser opens the page of X."""
        given = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "state": "s" * 32,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        } | changes
        path = f"/i/oauth2/authorize?{urlencode(given)}"
        return await self.x.send("GET", path, allow_redirects=follow)

    async def code(self, account: Account, **changes: str) -> str:
        """What the callback is told once the account agreed."""
        await self.x.send("POST", "/sandbox/consent", body={"user_id": account.user_id})
        return redirected(await self.authorize(**changes))["code"]

    async def token(self, **form: str) -> Answer:
        """A request for tokens, with the client's secret if it has one."""
        return await self.form("token", **form)

    async def revoke(self, token: str) -> Answer:
        """Give a token back."""
        return await self.form("revoke", token=token)

    async def form(self, name: str, **form: str) -> Answer:
        """A form sent by this client."""
        if not self.secret:
            form["client_id"] = self.client_id
        headers = {}
        if self.secret:
            basic = b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
            headers["Authorization"] = f"Basic {basic}"
        return await self.x.send("POST", f"/2/oauth2/{name}", data=form, headers=headers)

    async def exchange(self, code: str, **changes: str) -> Answer:
        """The code for the first pair."""
        form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER} | changes
        return await self.token(grant_type="authorization_code", **form)

    async def refresh(self, token: str) -> Answer:
        """The next pair."""
        return await self.token(grant_type="refresh_token", refresh_token=token)

    async def connect(self, account: Account, **changes: str) -> dict[str, str]:
        """Everything from consent to tokens."""
        answer = await self.exchange(await self.code(account, **changes))
        assert answer.status == 200, answer.body
        return answer.json


def redirected(answer: Answer) -> dict[str, str]:
    """Parameters of the redirect to the callback."""
    assert answer.status == 302, answer.body
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == CALLBACK
    return {name: values[0] for name, values in parse_qs(target.query).items()}


async def app_of(x: X, *, confidential: bool = True) -> App:
    """A new client."""
    given = {"redirect_uris": [CALLBACK], "confidential": confidential}
    made = (await x.send("POST", "/sandbox/clients", body=given)).json
    return App(x, made["client_id"], made.get("client_secret", ""))


async def post_with(x: X, token: str, text: str = "hello") -> Answer:
    """A post by bearer token."""
    return await x.send(
        "POST", "/2/tweets", body={"text": text}, headers={"Authorization": f"Bearer {token}"}
    )


@pytest.fixture
async def app(x: X) -> App:
    return await app_of(x)


async def test_consent_code_and_token_let_a_client_post(x: X, app: App) -> None:
    """The whole way, as a browser and a server go it; what the token was granted for works, and nothing else."""
    alice = await x.account()
    pair = await app.connect(alice)
    assert (pair["token_type"], pair["expires_in"], pair["scope"]) == ("bearer", 7200, SCOPES)
    me = await x.send("GET", "/2/users/me", headers={"Authorization": f"Bearer {pair['access_token']}"})
    assert me.json["data"]["username"] == "alice"
    assert (await post_with(x, pair["access_token"])).status == 201
    reader = await app.connect(alice, scope="tweet.read users.read")
    assert "refresh_token" not in reader
    assert (await post_with(x, reader["access_token"], "another")).status == 403
    assert (await post_with(x, "nonsense")).status == 401


async def test_a_public_client_needs_no_secret_and_a_confidential_one_does(x: X, app: App) -> None:
    """X tells the two apart, and so must whoever refreshes."""
    alice, public = await x.account(), await app_of(x, confidential=False)
    assert (await public.exchange(await public.code(alice))).status == 200
    code = await app.code(alice)
    bare = App(x, app.client_id, "")
    wrong = App(x, app.client_id, "wrong")
    assert [(await one.exchange(code)).status for one in (bare, wrong)] == [401, 401]
    assert (await app.exchange(code)).status == 200


async def test_a_code_is_good_once_for_its_verifier_and_redirect_and_for_30_seconds(
    x: X, app: App, clock: FakeClock
) -> None:
    """A code that was seen by somebody else must be worth nothing; one used twice ends what it gave."""
    alice = await x.account()
    for changes in ({"code_verifier": "w" * 43}, {"redirect_uri": CALLBACK + "/"}):
        assert (await app.exchange(await app.code(alice), **changes)).status == 400
    assert (await app.exchange("unknown")).status == 400
    late = await app.code(alice)
    clock.advance(31)
    assert (await app.exchange(late)).status == 400
    code = await app.code(alice)
    pair = (await app.exchange(code)).json
    assert (await app.exchange(code)).json["error"] == "invalid_request"
    assert (await post_with(x, pair["access_token"])).status == 401
    assert (await app.refresh(pair["refresh_token"])).status == 400


async def test_a_refresh_token_is_good_once_and_reuse_ends_the_family(
    x: X, app: App, clock: FakeClock
) -> None:
    """The rule that costs careless clients their accounts."""
    first = await app.connect(await x.account())
    clock.advance(7201)
    assert (await post_with(x, first["access_token"])).status == 401
    second = (await app.refresh(first["refresh_token"])).json
    assert (await post_with(x, second["access_token"])).status == 201
    refused = await app.refresh(first["refresh_token"])
    assert (refused.status, refused.json["error"]) == (400, "invalid_request")
    assert (await post_with(x, second["access_token"], "again")).status == 401
    assert (await app.refresh(second["refresh_token"])).status == 400


async def test_a_revoked_token_takes_its_family_along(x: X, app: App) -> None:
    """Whoever disconnects an account expects every token of it to be gone."""
    pair = await app.connect(await x.account())
    assert (await app.revoke(pair["refresh_token"])).json == {"revoked": True}
    assert (await post_with(x, pair["access_token"])).status == 401
    assert (await app.refresh(pair["refresh_token"])).status == 400
    assert (await app.revoke("unknown")).status == 200


async def test_the_page_asks_and_the_answer_goes_to_the_callback(x: X, app: App) -> None:
    """A person without a robot's consent sees a form; both of its buttons lead back."""
    alice = await x.account()
    page = await app.authorize()
    assert page.status == 200
    assert "@alice" in page.body
    assert "<script" not in page.body
    given = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": CALLBACK,
        "scope": SCOPES,
        "state": "s" * 32,
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        "user_id": alice.user_id,
    }
    allowed = await x.send(
        "POST", "/i/oauth2/authorize", data=given | {"decision": "allow"}, allow_redirects=False
    )
    told = redirected(allowed)
    assert (told["state"], told["iss"]) == ("s" * 32, x.url)
    assert (await app.exchange(told["code"])).status == 200
    denied = await x.send(
        "POST", "/i/oauth2/authorize", data=given | {"decision": "deny"}, allow_redirects=False
    )
    assert redirected(denied)["error"] == "access_denied"


async def test_a_wrong_client_or_redirect_is_never_redirected(x: X, app: App) -> None:
    """An open redirect would hand codes to strangers; other mistakes are told to the client."""
    for changes in ({"client_id": "<b>"}, {"redirect_uri": "https://evil.example/"}):
        answer = await app.authorize(**changes)
        assert (answer.status, "<b>" in answer.body) == (400, False)
    for changes in (
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"scope": "everything"},
        {"state": ""},
    ):
        assert "error" in redirected(await app.authorize(**changes))


async def test_the_answer_of_the_token_endpoint_can_be_lost_before_and_after_the_rotation(
    x: X, app: App
) -> None:
    """The two look the same to a client, and only one of them has cost it the token."""
    pair = await app.connect(await x.account())
    for kind, survives in (("error_500_before", True), ("error_500_after", False)):
        await x.fault(kind, endpoint="token")
        assert (await app.refresh(pair["refresh_token"])).status == 500
        assert (await post_with(x, pair["access_token"], kind)).status == 201
        again = await app.refresh(pair["refresh_token"])
        assert (again.status == 200) is survives
        pair = again.json if survives else pair
    assert (await x.fault("duplicate", endpoint="token")).status == 400


async def test_a_restart_keeps_grants_and_the_state_file_holds_no_token(
    tmp_path: Path, clock: FakeClock, session: aiohttp.ClientSession
) -> None:
    """A restarted sandbox is the same X, and whoever reads its file gets nothing."""
    path = tmp_path / "state.jsonl"
    settings = Settings(port=0, state_file=path)
    async with running(settings, clock) as url:
        x = X(url, clock, session)
        app = await app_of(x)
        first = await app.connect(await x.account())
        second = (await app.refresh(first["refresh_token"])).json
    written = path.read_text()
    secrets = [
        app.secret,
        *(one[name] for one in (first, second) for name in ("access_token", "refresh_token")),
    ]
    assert not [one for one in secrets if one in written]
    async with running(settings, clock) as url:
        x = X(url, clock, session)
        app = App(x, app.client_id, app.secret)
        assert (await post_with(x, second["access_token"])).status == 201
        third = (await app.refresh(second["refresh_token"])).json
        assert (await app.refresh(first["refresh_token"])).status == 400
        assert (await post_with(x, third["access_token"], "dead")).status == 401
