"""A real browser does the main job through the gateway: the system's Chromium, real cookies, real cross-origin rules.

The script is the one of docs/clients.md. It is served under the gateway's own origin, as a console's would be; nothing else of the
gateway's traffic is touched. Without Chromium the tests are skipped, but not where CI is set: `.ci/run` installs it.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    async_playwright,
)

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.node import lend_packages, run
from tests.e2e.pages import ROOT, files, section, text_of

PATIENCE_MS = 30_000
# Root has no sandbox in a container; the rest keeps Chromium from asking for anything beyond loopback.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE = "docs/clients.md"
HARNESS = """<!doctype html><html lang="en"><title>A page of ours</title><script type="module">
import * as client from "/try/main_job.js";
window.client = client;
</script><p>ready</p></html>"""
TYPES = {"js": "text/javascript", "html": "text/html"}


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for the module; each test has a context, which is a profile, of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(".ci/run has not installed Chromium")
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        yield browser
        await browser.close()


@pytest.fixture
async def profile(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A person's browser that has never been here."""
    context = await chromium.new_context(viewport={"width": 1100, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


async def our_page(profile: BrowserContext, running: Running, script: str | None = None) -> Page:
    """A page of the gateway's origin with the script of docs/clients.md, or another."""
    served = {"index.html": HARNESS, "main_job.js": script or files(text_of(PAGE))["main_job.js"]}

    async def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2] or "index.html"
        await route.fulfill(body=served[name], content_type=TYPES[name.rpartition(".")[2]])

    page = await profile.new_page()
    await page.route(re.compile(rf"^{re.escape(running.url)}/try/"), serve)
    await load(page, running)
    return page


async def load(page: Page, running: Running) -> None:
    """Load the page, or load it again: what it held in memory is gone."""
    await page.goto(f"{running.url}/try/")
    await page.wait_for_function("window.client !== undefined")


async def session_of(profile: BrowserContext) -> dict[str, str]:
    """The cookies that the browser keeps, which no script sees."""
    return {cookie["name"]: cookie["value"] for cookie in await profile.cookies()}


async def keys_for(running: Running, handle: str) -> tuple[str, dict[str, str]]:
    """A new account on X: its id, and its four strings as the API wants them."""

    def make() -> dict[str, Any]:
        with Api(running.sandbox) as sandbox:
            return sandbox.post("/sandbox/accounts", {"handle": handle})

    account = await asyncio.to_thread(make)
    return account["user_id"], {
        "consumerKey": account["consumer_key"],
        "consumerSecret": account["consumer_secret"],
        "accessToken": account["access_token"],
        "accessTokenSecret": account["access_token_secret"],
    }


async def posts_of(running: Running, user_id: str) -> list[dict[str, Any]]:
    """What X holds of an account."""

    def look() -> list[dict[str, Any]]:
        with Api(running.sandbox) as sandbox:
            return list(sandbox.get("/sandbox/posts", user_id=user_id)["posts"])

    return await asyncio.to_thread(look)


async def test_a_page_signs_in_publishes_and_watches_the_post_go_out(
    running: Running, profile: BrowserContext, tmp_path: Path
) -> None:
    """The main job as a console does it; the session survives a reload without any script having seen it."""
    user_id, keys = await keys_for(running, "page_bot")
    page = await our_page(profile, running)
    await page.evaluate("password => client.signIn('admin', password)", PASSWORD)
    cookies = {cookie["name"]: cookie for cookie in await profile.cookies()}
    assert cookies
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in cookies.values())
    assert await page.evaluate("document.cookie") == ""
    await load(page, running)
    await page.evaluate("client.resume()")
    told = await page.evaluate(
        """async keys => {
            const told = [];
            const bot = await client.connect("page_bot", keys);
            await client.publish(bot, "From a page", state => told.push(state));
            document.querySelector("p").textContent = told.join(" → ");
            return told;
        }""",
        keys,
    )
    await page.screenshot(path=tmp_path / "published.png")
    assert told[-2:] == ["POST_STATE_PUBLISHING", "POST_STATE_PUBLISHED"]
    assert [post["text"] for post in await posts_of(running, user_id)] == ["From a page"]


async def test_a_page_hears_why_it_is_refused(running: Running, profile: BrowserContext) -> None:
    """The typed error reaches the script: reason and field, not a sentence to guess from."""
    page = await our_page(profile, running)
    refused = await page.evaluate("client.signIn('admin', 'not the password').catch(status => status)")
    assert refused["details"][0]["reason"] == "LOGIN_FAILED"
    await page.evaluate("password => client.signIn('admin', password)", PASSWORD)
    refused = await page.evaluate("client.connect('no spaces please').catch(status => status)")
    fields = [one["field"] for detail in refused["details"] for one in detail.get("fieldViolations", [])]
    assert fields == ["bot.handle"]


@pytest.fixture(scope="module")
async def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The generated client of docs/clients.md and both of its transports as one script."""
    folder = tmp_path_factory.mktemp("bundle")

    def build() -> str:
        lend_packages(folder)
        for name, content in files(section(text_of(PAGE), "TypeScript")).items():
            (folder / name).write_text(content, encoding="utf-8")
        (folder / "entry.ts").write_text(
            """export { mainJob, reasonFor } from "./main_job_rpc.ts";
            export { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";"""
        )
        image = str(ROOT / "generated" / "vivesphere.binpb")
        packages = ("google/rpc", "vivesphere/authentication", "vivesphere/bot_manager")
        wanted = [part for package in packages for part in ("--path", package)]
        run(folder, "buf", "generate", image, "--include-imports", *wanted)
        run(folder, "esbuild", "entry.ts", "--bundle", "--format=esm", "--outfile=bundle.js")
        return (folder / "bundle.js").read_text(encoding="utf-8")

    return await asyncio.to_thread(build)


@pytest.mark.parametrize("protocol", ["Connect", "GrpcWeb"])
async def test_a_generated_client_does_the_main_job_in_a_page(
    running: Running, profile: BrowserContext, bundle: str, protocol: str
) -> None:
    """A browser's own fetch and streams carry gRPC-Web and Connect, a server stream included."""
    handle = f"page_{protocol.lower()}"
    user_id, keys = await keys_for(running, handle)
    page = await our_page(profile, running, bundle)
    state = await page.evaluate(
        """([protocol, password, handle, keys]) => {
            const transport = client[`create${protocol}Transport`]({ baseUrl: location.origin });
            return client.mainJob(transport, password, handle, keys);
        }""",
        [protocol, PASSWORD, handle, keys],
    )
    assert state == "PUBLISHED"
    assert [post["text"] for post in await posts_of(running, user_id)] == [f"By {handle}"]


async def test_an_event_source_that_lost_its_stream_goes_on_where_it_broke(
    running: Running, profile: BrowserContext
) -> None:
    """The browser's own reader of events understands ours, and comes back with the id of the last one: what happened meanwhile is told.

    It cannot send a token, so the profile does for it; the deadline cuts the stream, as a network would.
    """
    user_id, keys = await keys_for(running, "event_source_bot")
    page = await our_page(profile, running)
    await page.evaluate("password => client.signIn('admin', password)", PASSWORD)
    bot = await page.evaluate("keys => client.connect('event_source_bot', keys)", keys)
    await page.unroute_all()  # what passes through a route is seen without the headers that the browser adds
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "events:watch" in request.url else None)
    token = await asyncio.to_thread(token_of, running)
    await page.set_extra_http_headers({"authorization": f"Bearer {token}", "grpc-timeout": "1S"})
    await page.evaluate(
        """bot => {
            window.told = [];
            const events = new EventSource(`/api/v1/events:watch?botId=${bot}`);
            events.onmessage = ({ data }) => told.push(JSON.parse(data).event?.postState?.toState);
            return new Promise(lost => { events.onerror = () => { if (told.length) lost(); }; });
        }""",
        bot,
    )
    await asyncio.to_thread(publish, running, token, bot)
    await page.wait_for_function("told.includes('POST_STATE_PUBLISHED')")
    assert "POST_STATE_SCHEDULED" in await page.evaluate("told")
    ids = [(await request.all_headers()).get("last-event-id") for request in asked]
    assert ids[0] is None
    assert ids[-1]
    assert len(await posts_of(running, user_id)) == 1


def token_of(running: Running) -> str:
    """An access token of the administrator."""
    with Api(running.url) as api:
        return str(api.sign_in("admin", PASSWORD)["accessToken"])


def publish(running: Running, token: str, bot: str) -> None:
    """Ask for a post now, from elsewhere."""
    with Api(running.url) as api:
        api.carry(token)
        api.post(f"/api/v1/bots/{bot}/posts", {"text": "While nobody listens"}, publishNow="true")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another port", "another site"])
async def test_a_page_of_another_origin_can_do_nothing_with_the_session(
    running: Running, profile: BrowserContext, host: str
) -> None:
    """Neither read nor write: the browser keeps answers from it, and the gateway refuses what it sends blindly, so no token is used up."""
    ours = await our_page(profile, running)
    await ours.evaluate("password => client.signIn('admin', password)", PASSWORD)

    async def theirs(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Theirs</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", theirs)
    async with TestServer(app) as server:
        page = await profile.new_page()
        await page.goto(f"http://{host}:{server.port}/")
        read = "path => fetch(path, {credentials: 'include'}).then(() => 'read', () => 'kept away')"
        for path in ("/api/v1/bots", "/healthz"):
            assert await page.evaluate(read, running.url + path) == "kept away"
        # Without a body no content type gives it away: but for its origin this would be a good call.
        before = await session_of(profile)
        await page.evaluate(
            """url => fetch(url, {method: "POST", mode: "no-cors", credentials: "include"}).catch(() => {})""",
            f"{running.url}/api/v1/auth/token:refresh",
        )
        assert await session_of(profile) == before
    await load(ours, running)
    await ours.evaluate("client.resume()")
    assert await session_of(profile) != before


async def test_the_pages_of_the_gateway_break_no_policy_of_their_own(
    running: Running, profile: BrowserContext, tmp_path: Path
) -> None:
    """A violation in the console means that a style or script is not where the policy allows it; nor may anything be missing."""
    page = await profile.new_page()
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path, name in (("/", "landing"), ("/docs", "docs")):
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            answer = await page.goto(running.url + path)
            assert answer is not None
            assert answer.status == 200
            await page.screenshot(path=tmp_path / f"{name}-{scheme}.png")
    assert complaints == []
