"""Following the settings of a running mesh for as long as somebody wants it, across lost connections and expired tokens.

Each event says which revision it is; a new stream begins after the last one, so nothing is missed and nothing comes twice. When the
server no longer has that revision, following ends with its refusal: going on would hide a gap.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from cli.rest import Api, ApiError

PATH = "/api/v1/settings:watch"
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 10.0
_FINAL = frozenset({400, 403, 404})

Renew = Callable[[Api], str]
"""Makes the API carry a credential, a fresh one if there is any; returns what tells it from another one."""


def follow(
    api: Api, renew: Renew, from_revision: int, sleep: Callable[[float], None] = time.sleep
) -> Iterator[dict[str, Any]]:
    """Events as the server sends them, for ever. Raises ApiError for what another attempt would not change."""
    position, pause = from_revision, FIRST_RETRY_SECONDS
    refused: ApiError | None = None
    credential = ""
    while True:
        try:
            if refused is not None:
                renewed = renew(api)
                if renewed == credential:
                    raise refused  # twice, and there is no other credential
                credential, refused = renewed, None
            for event in api.stream(PATH, fromRevision=position):
                position = int(event.get("transaction", event.get("bookmark", {})).get("revision", position))
                pause, credential = FIRST_RETRY_SECONDS, ""
                yield event
        except ApiError as error:
            if error is refused or error.status in _FINAL or error.reason == "REVISION_COMPACTED":
                raise
            if _expired(error):
                refused = error
                continue
        except (httpx.HTTPError, ValueError):
            pass  # the connection was lost, perhaps in the middle of a line
        sleep(pause)
        pause = min(pause * 2, LONGEST_RETRY_SECONDS)


def _expired(error: ApiError) -> bool:
    """Also as the last item of a stream that had begun, which has no status of its own."""
    return error.status == httpx.codes.UNAUTHORIZED or error.reason in ("TOKEN_INVALID", "CREDENTIAL_MISSING")
