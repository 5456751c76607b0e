"""The HTTP server of the sandbox: routes, errors and life-cycle.

`running` serves until its block ends; `python -m sandbox` and every test use it. Handlers are cancelled when their
client goes away, and all that waits on purpose stops at shutdown, so stopping takes a second at most.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from sandbox import problems
from sandbox.api import Api
from sandbox.clock import Clock, http_date
from sandbox.control import Control
from sandbox.oauth2_api import OAuth2Api
from sandbox.oauth2_page import OAuth2Page
from sandbox.page import Page
from sandbox.problems import Invalid, Problem
from sandbox.settings import Settings
from sandbox.world import World, make_world

MAX_BODY_BYTES = 256 * 1024
SHUTDOWN_SECONDS = 1.0

# The standard library's logger prints no local variables with a traceback, so no key can get into a log.
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock = time.time, chance: random.Random | None = None
) -> AsyncIterator[str]:
    """Serve inside the block; gives the base URL, such as `http://127.0.0.1:8090`.

    Raises:
        OSError: the port is taken, or the state file cannot be opened.
        Damaged: the state file cannot be understood.
    """
    world = make_world(settings, clock, chance or random.Random())  # noqa: S311  # chance of faults, not secrets
    runner = web.AppRunner(
        application(world), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port).start()
        yield _base_url(settings.host, runner.addresses[0][1])
    finally:
        world.stopping.set()
        await runner.cleanup()
        world.store.close()


def application(world: World) -> web.Application:
    """All routes over one World."""
    app = web.Application(middlewares=[_errors], client_max_size=MAX_BODY_BYTES)

    async def tell_time(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = http_date(world.clock())

    app.on_response_prepare.append(tell_time)
    app.add_routes(Api(world).routes())
    app.add_routes(Control(world).routes())
    app.add_routes(Page(world).routes())
    app.add_routes(OAuth2Api(world).routes())
    app.add_routes(OAuth2Page(world).routes())
    app.add_routes([web.get("/healthz", _healthz)])
    return app


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except Invalid as wrong:
        return _control_error(400, wrong.message, wrong.parameter)
    except web.HTTPException as error:
        if request.path.startswith("/sandbox/"):
            return _control_error(error.status, error.text or error.reason)
        return problems.plain(error.status, headers=_allow(error)).response()
    except Exception:
        _log.exception("unexpected error")
        return problems.internal_error().response()


def _control_error(status: int, message: str, field: str | None = None) -> web.Response:
    return web.json_response({"error": {"field": field, "message": message}}, status=status)


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def _base_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
