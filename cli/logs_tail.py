"""Following the logs of a running mesh.

Every item carries a token that goes on behind it, so a connection that is lost costs nothing: what came meanwhile is sent first. A server
with nothing to tell sends a token alone every few seconds, so a silent stream is a dead one and is opened anew.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from cli import following
from cli.following import Renew
from cli.rest import SILENCE_SECONDS, Api, Parameter

PATH = "/api/v1/logs:tail"


def follow(
    api: Api,
    renew: Renew,
    filters: dict[str, Parameter],
    last: int,
    lost: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    silence_seconds: float = SILENCE_SECONDS,
) -> Iterator[dict[str, Any]]:
    """Records and gaps, the `last` newest records first, for ever. Raises ApiError for what another attempt would not change."""
    begin: dict[str, Parameter] = {"initialCount": last}

    def attempt() -> Iterator[dict[str, Any]]:
        while True:
            try:
                for item in api.stream(PATH, silence_seconds=silence_seconds, **filters, **begin):
                    if item.get("resumeToken"):
                        begin.clear()
                        begin["resumeToken"] = item["resumeToken"]
                    yield item
            except httpx.ReadTimeout:
                continue
            return

    return following.follow(api, renew, attempt, lost=lost, sleep=sleep)
