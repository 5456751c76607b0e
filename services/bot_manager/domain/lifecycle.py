"""The lives of bots and posts, as tables: which event is allowed in which state, and where it leads.

What is not in a table is refused. Pure: what an event writes beside the state is said in `domain/ledger.py` and `domain/bots.py`.

Two rules keep a post from going out twice and stand in the table itself: a lease that ends takes CLAIMED back to SCHEDULED, since
X was not called, but PUBLISHING to UNKNOWN, since X may have been; and out of UNKNOWN lead only a proof (what X answered after
all, a post found on the account) or a decision (policy, a person), never the passing of time.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, overload

from mesh.errors import FailedPrecondition
from services.bot_manager.domain.model import BotState, PostState


class BotEvent(StrEnum):
    """What can happen to a bot."""

    ACTIVATE = "ACTIVATE"
    """A person lets it publish; needs stored credentials."""
    PAUSE = "PAUSE"
    VERIFY = "VERIFY"
    """X confirmed its credentials."""
    REFUSE_CREDENTIALS = "REFUSE_CREDENTIALS"
    """X refused its credentials."""
    SUSPEND = "SUSPEND"
    """X locked the account, or forbids the app to act for it."""
    ARCHIVE = "ARCHIVE"
    """Needs that no post of it is CLAIMED, PUBLISHING or UNKNOWN."""


class PostEvent(StrEnum):
    """What can happen to a post."""

    EDIT = "EDIT"
    """Its content or time is changed; needs text, and a time in the future if one is given."""
    SCHEDULE = "SCHEDULE"
    """A draft gets its time."""
    UNSCHEDULE = "UNSCHEDULE"
    """Its time is taken away."""
    SUBMIT = "SUBMIT"
    """The bot's policy wants a second person."""
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    CANCEL = "CANCEL"
    RETRY = "RETRY"
    DELETE = "DELETE"
    """Leads nowhere: the post is gone. In the table to say where it is allowed."""
    CLAIM = "CLAIM"
    """A claimer takes it; needs an ACTIVE bot, `due_time` reached, `miss_time` not. Raises the fence, starts a lease."""
    TAKE = "TAKE"
    """A worker takes the claim over; needs the claim's fence. Raises the fence, renews the lease."""
    RELEASE = "RELEASE"
    """Given back before X was called; needs the fence."""
    GIVE_UP = "GIVE_UP"
    """Refused before X was called; needs the fence."""
    BEGIN = "BEGIN"
    """The intent to send a part is written; needs the fence, an ACTIVE bot, and the part to be the first that is not on X."""
    ACCEPT_PART = "ACCEPT_PART"
    """X took a part and more are to come."""
    ACCEPT_LAST = "ACCEPT_LAST"
    """X took the last part."""
    NOT_TAKEN = "NOT_TAKEN"
    """Surely not sent, or refused for now; needs the attempt's fence, like REFUSE and LOSE_TRACK."""
    REFUSE = "REFUSE"
    """X refused for good."""
    LOSE_TRACK = "LOSE_TRACK"
    """X may have taken it or not."""
    LEASE_END = "LEASE_END"
    """The worker is gone, or too slow; needs `lease_end_time` passed."""
    MISS = "MISS"
    """Too late; needs `miss_time` passed."""
    SEND_AGAIN = "SEND_AGAIN"
    """Policy or a person says that X does not have it."""
    ABANDON = "ABANDON"
    """A person says that X does not have it and shall not."""


_B, _P = BotState, PostState

BOT_TABLE: Final[Mapping[BotEvent, Mapping[BotState, BotState]]] = {
    BotEvent.ACTIVATE: {
        _B.DRAFT: _B.ACTIVE,
        _B.ACTIVE: _B.ACTIVE,
        _B.PAUSED: _B.ACTIVE,
        _B.SUSPENDED: _B.ACTIVE,
    },
    BotEvent.PAUSE: {
        _B.ACTIVE: _B.PAUSED,
        _B.PAUSED: _B.PAUSED,
        _B.REAUTH_REQUIRED: _B.PAUSED,
        _B.SUSPENDED: _B.PAUSED,
    },
    BotEvent.VERIFY: {
        _B.DRAFT: _B.ACTIVE,
        _B.ACTIVE: _B.ACTIVE,
        _B.PAUSED: _B.PAUSED,
        _B.REAUTH_REQUIRED: _B.ACTIVE,
        _B.SUSPENDED: _B.SUSPENDED,
    },
    BotEvent.REFUSE_CREDENTIALS: {
        _B.DRAFT: _B.DRAFT,
        _B.ACTIVE: _B.REAUTH_REQUIRED,
        _B.PAUSED: _B.PAUSED,
        _B.REAUTH_REQUIRED: _B.REAUTH_REQUIRED,
        _B.SUSPENDED: _B.SUSPENDED,
    },
    BotEvent.SUSPEND: {
        _B.ACTIVE: _B.SUSPENDED,
        _B.PAUSED: _B.PAUSED,
        _B.REAUTH_REQUIRED: _B.SUSPENDED,
        _B.SUSPENDED: _B.SUSPENDED,
    },
    BotEvent.ARCHIVE: dict.fromkeys(BotState, _B.ARCHIVED),
}
"""The state after an event, by state before."""

POST_TABLE: Final[Mapping[PostEvent, Mapping[PostState, PostState]]] = {
    PostEvent.EDIT: {state: state for state in (_P.DRAFT, _P.PENDING_APPROVAL, _P.SCHEDULED)},
    PostEvent.SCHEDULE: {_P.DRAFT: _P.SCHEDULED, _P.SCHEDULED: _P.SCHEDULED},
    PostEvent.UNSCHEDULE: dict.fromkeys((_P.DRAFT, _P.PENDING_APPROVAL, _P.SCHEDULED), _P.DRAFT),
    PostEvent.SUBMIT: dict.fromkeys((_P.DRAFT, _P.PENDING_APPROVAL, _P.SCHEDULED), _P.PENDING_APPROVAL),
    PostEvent.APPROVE: {_P.PENDING_APPROVAL: _P.SCHEDULED},
    PostEvent.REJECT: {_P.PENDING_APPROVAL: _P.DRAFT},
    PostEvent.CANCEL: dict.fromkeys(
        (_P.DRAFT, _P.PENDING_APPROVAL, _P.SCHEDULED, _P.FAILED, _P.CANCELLED), _P.CANCELLED
    ),
    PostEvent.RETRY: dict.fromkeys((_P.FAILED, _P.MISSED, _P.CANCELLED), _P.SCHEDULED),
    PostEvent.DELETE: {
        state: state for state in PostState if state not in (_P.CLAIMED, _P.PUBLISHING, _P.UNKNOWN)
    },
    PostEvent.CLAIM: {_P.SCHEDULED: _P.CLAIMED},
    PostEvent.TAKE: {_P.CLAIMED: _P.CLAIMED},
    PostEvent.RELEASE: {_P.CLAIMED: _P.SCHEDULED},
    PostEvent.GIVE_UP: {_P.CLAIMED: _P.FAILED},
    PostEvent.BEGIN: {_P.CLAIMED: _P.PUBLISHING},
    PostEvent.ACCEPT_PART: {
        _P.SCHEDULED: _P.SCHEDULED,
        _P.CLAIMED: _P.CLAIMED,
        _P.PUBLISHING: _P.CLAIMED,
        _P.UNKNOWN: _P.SCHEDULED,
        _P.FAILED: _P.FAILED,
        _P.CANCELLED: _P.CANCELLED,
        _P.MISSED: _P.MISSED,
    },
    PostEvent.ACCEPT_LAST: dict.fromkeys(
        (_P.SCHEDULED, _P.CLAIMED, _P.PUBLISHING, _P.UNKNOWN, _P.FAILED, _P.CANCELLED, _P.MISSED),
        _P.PUBLISHED,
    ),
    PostEvent.NOT_TAKEN: {_P.PUBLISHING: _P.SCHEDULED, _P.UNKNOWN: _P.SCHEDULED},
    PostEvent.REFUSE: {_P.PUBLISHING: _P.FAILED, _P.UNKNOWN: _P.FAILED},
    PostEvent.LOSE_TRACK: {_P.PUBLISHING: _P.UNKNOWN, _P.UNKNOWN: _P.UNKNOWN},
    PostEvent.LEASE_END: {_P.CLAIMED: _P.SCHEDULED, _P.PUBLISHING: _P.UNKNOWN},
    PostEvent.MISS: {_P.SCHEDULED: _P.MISSED, _P.PENDING_APPROVAL: _P.MISSED},
    PostEvent.SEND_AGAIN: {_P.UNKNOWN: _P.SCHEDULED},
    PostEvent.ABANDON: {_P.UNKNOWN: _P.FAILED},
}
"""The state after an event, by state before.

A late answer may still settle an UNKNOWN of its own claim. That X took a part is true whenever it is heard, so it is taken from
every state in which the post may be by then.
"""

LEASED: Final = frozenset({PostState.CLAIMED, PostState.PUBLISHING})
"""States in which somebody holds a lease."""
UNSETTLED: Final = LEASED | {PostState.UNKNOWN}
"""States in which X may be hearing of the post, so that neither it nor its bot may go away."""


@overload
def next_state(state: BotState, event: BotEvent) -> BotState: ...
@overload
def next_state(state: PostState, event: PostEvent) -> PostState: ...
def next_state(state: BotState | PostState, event: BotEvent | PostEvent) -> BotState | PostState:
    """The state after `event`. Raises FailedPrecondition: BOT_ARCHIVED for an archived bot, else INVALID_STATE."""
    if isinstance(event, BotEvent) and isinstance(state, BotState):
        if state is BotState.ARCHIVED and event is not BotEvent.ARCHIVE:
            raise FailedPrecondition("BOT_ARCHIVED", "the bot is archived; there is no way back")
        if state in BOT_TABLE[event]:
            return BOT_TABLE[event][state]
    if isinstance(event, PostEvent) and isinstance(state, PostState) and state in POST_TABLE[event]:
        return POST_TABLE[event][state]
    subject = "bot" if isinstance(state, BotState) else "post"
    raise FailedPrecondition(
        "INVALID_STATE",
        f"{event} is not possible for a {subject} in state {state}",
        metadata={"state": state.value, "event": event.value},
    )


def allows(state: PostState, event: PostEvent) -> bool:
    """Whether the table has the event for the state."""
    return state in POST_TABLE[event]
