"""How a fault looks on the wire: errors, wrong answers, silence, and connections that break.

Silence and broken connections are real ones: the transport is held open without a byte, or closed with a TCP reset.
Waiting ends when the client goes away (its handler is cancelled), when the server stops, or after a bound.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from sandbox import problems
from sandbox.clock import Clock
from sandbox.faults import DEFAULT_SLOW_SECONDS, Fault, Kind

HOLD_SECONDS = 600
"""Longest silence: longer than any client's patience."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PAGE_502 = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"


async def instead_of_storing(
    fault: Fault, request: web.Request, limits: Mapping[str, str], clock: Clock, stopping: asyncio.Event
) -> web.StreamResponse:
    """Answer a request whose post was not stored. Raises Problem for the kinds that are error documents."""
    match fault.kind:
        case Kind.RATE_LIMITED:
            raise problems.too_many_requests(_used_up(fault, limits, clock))
        case Kind.CREDITS_DEPLETED:
            raise problems.credits_depleted()
        case Kind.USAGE_CAPPED:
            raise problems.usage_capped()
        case Kind.UNAUTHORIZED:
            raise problems.unauthorized("a fault that was asked for")
        case Kind.SUSPENDED:
            raise problems.user_suspended()
        case Kind.NOT_PERMITTED:
            raise problems.not_permitted()
        case Kind.COLD_REPLY:
            raise problems.cold_reply()
        case Kind.DUPLICATE:
            raise problems.duplicate_content()
        case Kind.ERROR_500_BEFORE:
            raise problems.internal_error()
        case Kind.HTML_502:
            return web.Response(status=502, text=_PAGE_502, content_type="text/html")
        case Kind.RESET_BEFORE:
            _reset(request)
    return await _silence(request, stopping)


async def after_storing(
    fault: Fault, request: web.Request, answer: dict[str, object], stopping: asyncio.Event
) -> web.StreamResponse:
    """Answer a request whose post was stored and whose right answer would be `answer`."""
    match fault.kind:
        case Kind.ERROR_500_AFTER:
            raise problems.internal_error()
        case Kind.NO_ID:
            return web.json_response({"data": {"text": answer["text"]}}, status=201)
        case Kind.SLOW:
            await _pause(DEFAULT_SLOW_SECONDS if fault.seconds is None else fault.seconds, stopping)
            return web.json_response({"data": answer}, status=201)
        case Kind.RESET_AFTER:
            _reset(request)
    return await _silence(request, stopping)


async def _silence(request: web.Request, stopping: asyncio.Event) -> web.StreamResponse:
    await _pause(HOLD_SECONDS, stopping)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)  # reaches nobody


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:  # the client was faster
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def _used_up(fault: Fault, limits: Mapping[str, str], clock: Clock) -> dict[str, str]:
    headers = {**limits, "x-rate-limit-remaining": "0"}
    if fault.seconds is not None:
        headers["x-rate-limit-reset"] = str(int(clock() + fault.seconds) + 1)
    return headers
