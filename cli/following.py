"""Following a stream of a running mesh for as long as somebody wants it, across lost connections and expired tokens.

Whoever follows remembers how far it got: each attempt goes on where the last one ended, so nothing is missed and nothing comes twice.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from cli.rest import Api, ApiError

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 10.0
_FINAL = frozenset({400, 403, 404})

Item = dict[str, Any]
Renew = Callable[[Api], str]
"""Makes the API carry a credential, a fresh one if there is any; returns what tells it from another one."""
Attempt = Callable[[], Iterator[Item]]
"""Opens the stream behind what was read last, and reads it until it ends."""


def follow(
    api: Api,
    renew: Renew,
    attempt: Attempt,
    *,
    final: frozenset[str] = frozenset(),
    lost: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item]:
    """Items as the server sends them, for ever. Raises ApiError for what another attempt would not change, reasons in `final` too.

    `lost` is told why the stream ended, once each time until it is there again.
    """
    pause, told = FIRST_RETRY_SECONDS, False
    refused: ApiError | None = None
    credential = ""
    while True:
        why = "the server ended the stream"
        try:
            if refused is not None:
                renewed = renew(api)
                if renewed == credential:
                    raise refused  # twice, and there is no other credential
                credential, refused = renewed, None
            for item in attempt():
                pause, credential, told = FIRST_RETRY_SECONDS, "", False
                yield item
        except ApiError as error:
            if error is refused or error.status in _FINAL or error.reason in final:
                raise
            if _expired(error):
                refused = error
                continue
            why = error.message or str(error)
        except (httpx.HTTPError, ValueError) as error:
            why = str(error)  # the connection was lost, perhaps in the middle of a line
        if not told:
            lost(why)
            told = True
        sleep(pause)
        pause = min(pause * 2, LONGEST_RETRY_SECONDS)


def _expired(error: ApiError) -> bool:
    """Also as the last item of a stream that had begun, which has no status of its own."""
    return error.status == httpx.codes.UNAUTHORIZED or error.reason in ("TOKEN_INVALID", "CREDENTIAL_MISSING")
