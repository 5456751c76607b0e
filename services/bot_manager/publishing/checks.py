"""What is asked right before a part is sent, and what an answer may be. The sender asks in order and obeys the first that objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from services.bot_manager.domain.model import Bot, Entry, EntryKind, Failure, Part, Post
from services.bot_manager.domain.story import deferral_detail
from services.bot_manager.x.port import XCredentials

SWITCHED_OFF: Final = Entry(
    EntryKind.DEFERRED,
    "publishing is switched off (bot_manager.publish.enabled); it waits for that",
    details=deferral_detail("INVALID_STATE", None),
)
"""Of posts that the kill switch for everything keeps."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Not now: the post goes back and is claimed again at `until`. `reason` is an ErrorReason, `message` for people."""

    until: datetime
    reason: str
    message: str
    entries: Sequence[Entry] = ()
    """What its story gains before."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Not at all: the post is FAILED."""

    failure: Failure
    entries: Sequence[Entry] = ()
    """What its story gains before."""


class Check(Protocol):
    """Something that may object to sending a part. Raises MeshError if it cannot tell: the post is then tried again shortly."""

    async def __call__(self, post: Post, bot: Bot, part: Part) -> PutOff | GiveUp | None: ...


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Media of a part that are at X, in order, and what its story gains."""

    x_media_ids: tuple[str, ...] = ()
    entries: Sequence[Entry] = ()


class Uploader(Protocol):
    """Brings the media of a part to X. May be repeated: what X has already is not sent again."""

    async def upload(
        self, post: Post, bot: Bot, part: Part, credentials: XCredentials
    ) -> Uploaded | PutOff | GiveUp:
        """Works for `PublishSettings.upload_slice` and puts the post off if that is not enough.

        Raises MeshError: FailedPrecondition (X_CREDENTIALS_REJECTED, X_ACCOUNT_SUSPENDED) where X refuses the account, and what the
        database raises.
        """
        ...
