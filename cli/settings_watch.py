"""Following the settings of a running mesh.

Each event says which revision it is; a new stream begins after the last one, so nothing is missed and nothing comes twice. When the
server no longer has that revision, following ends with its refusal: going on would hide a gap.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from cli import following
from cli.following import Renew
from cli.rest import Api

PATH = "/api/v1/settings:watch"
_FINAL = frozenset({"REVISION_COMPACTED"})


def follow(
    api: Api, renew: Renew, from_revision: int, sleep: Callable[[float], None] = time.sleep
) -> Iterator[dict[str, Any]]:
    """Events as the server sends them, for ever. Raises ApiError for what another attempt would not change."""
    position = from_revision

    def attempt() -> Iterator[dict[str, Any]]:
        nonlocal position
        for event in api.stream(PATH, fromRevision=position):
            position = int(event.get("transaction", event.get("bookmark", {})).get("revision", position))
            yield event

    return following.follow(api, renew, attempt, final=_FINAL, sleep=sleep)
