"""X's media upload, version 2 (`/2/media/upload`, `/2/media/metadata`), which tweepy does not have. Implements XMediaPort."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import aiohttp

from mesh.errors import Unavailable
from services.bot_manager.domain.outcomes import MAX_DETAIL_CHARS, Exchange
from services.bot_manager.x.port import XCredentials, XMedia, XProcessing

UPLOAD = "/2/media/upload"
X_INTERNAL_ERROR = "InternalError"
"""Name of the processing error whose cause is not the file."""


class Caller(Protocol):
    """The part of TweepyPort that is used."""

    def call(
        self,
        credentials: XCredentials,
        method: str,
        path: str,
        limit: timedelta,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        form: aiohttp.FormData | None = None,
    ) -> Awaitable[Exchange]: ...


class MediaCalls:
    """`timeout` is asked for each call, so that the setting can change."""

    def __init__(self, caller: Caller, timeout: Callable[[], timedelta]) -> None:
        self._caller = caller
        self._timeout = timeout

    async def initialize(
        self, credentials: XCredentials, content_type: str, category: str, size: int
    ) -> XMedia:
        """See XMediaPort."""
        body = {"media_type": content_type, "media_category": category, "total_bytes": size}
        return _media(await self._call(credentials, "POST", f"{UPLOAD}/initialize", json=body))

    async def append(self, credentials: XCredentials, x_media_id: str, index: int, data: bytes) -> None:
        """See XMediaPort."""
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("segment_index", str(index))
        form.add_field("media", data, filename="segment", content_type="application/octet-stream")
        await self._call(credentials, "POST", f"{UPLOAD}/{x_media_id}/append", form=form)

    async def finalize(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """See XMediaPort."""
        return _media(await self._call(credentials, "POST", f"{UPLOAD}/{x_media_id}/finalize"))

    async def media_status(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """See XMediaPort."""
        asked = {"command": "STATUS", "media_id": x_media_id}
        return _media(await self._call(credentials, "GET", UPLOAD, params=asked))

    async def describe(self, credentials: XCredentials, x_media_id: str, alt_text: str) -> None:
        """See XMediaPort."""
        body = {"id": x_media_id, "metadata": {"alt_text": {"text": alt_text}}}
        await self._call(credentials, "POST", "/2/media/metadata", json=body)

    async def _call(self, credentials: XCredentials, method: str, path: str, **more: Any) -> Exchange:
        return await self._caller.call(credentials, method, path, self._timeout(), **more)


def _media(exchange: Exchange) -> XMedia:
    """What X says of a file. Raises Unavailable (X_UNAVAILABLE) for an answer without its id."""
    document = exchange.document()
    data = _member(document, "data")
    x_media_id = _member(data, "id")
    if not (isinstance(x_media_id, str) and x_media_id.isascii() and x_media_id.isdecimal()):
        raise Unavailable("X_UNAVAILABLE", "X answered without the id of the media")
    info = _member(data, "processing_info")
    # The specification has the reason among the problems beside the data; X has been seen to put it into processing_info.
    error = _member(info, "error") or _first(_member(document, "errors"))
    state = _member(info, "state")
    return XMedia(
        x_media_id,
        # Without a state there is nothing to process; one that is not known is not the end.
        processing=XProcessing.SUCCEEDED if state is None else _processing(state),
        check_after=_seconds(_member(info, "check_after_secs")),
        expires_after=_seconds(_member(data, "expires_after_secs")),
        failure=_words(error)[:MAX_DETAIL_CHARS],
        retryable=X_INTERNAL_ERROR in (_member(error, "name"), _member(error, "title")),
    )


def _processing(state: object) -> XProcessing:
    try:
        return XProcessing(str(state))
    except ValueError:
        return XProcessing.IN_PROGRESS


def _words(error: object) -> str:
    told = [_member(error, name) for name in ("message", "detail", "name", "title")]
    return next((one for one in told if isinstance(one, str) and one), "")


def _first(problems: object) -> object:
    return problems[0] if isinstance(problems, list) and problems else None


def _seconds(value: object) -> timedelta | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return timedelta(seconds=min(value, 10**8))


def _member(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None
