"""The tables of bots and posts."""

from itertools import product

import pytest

from mesh.errors import FailedPrecondition
from services.bot_manager.domain.lifecycle import (
    BOT_TABLE,
    LEASED,
    POST_TABLE,
    UNSETTLED,
    BotEvent,
    PostEvent,
    allows,
    next_state,
)
from services.bot_manager.domain.model import BotState, PostState

_P, _E = PostState, PostEvent


def test_a_lease_that_ends_never_sends_again_what_x_may_have() -> None:
    """The one bug that doubles posts in systems like this."""
    assert POST_TABLE[_E.LEASE_END] == {_P.CLAIMED: _P.SCHEDULED, _P.PUBLISHING: _P.UNKNOWN}


def test_out_of_unknown_leads_only_proof_or_decision() -> None:
    """Neither time nor a claim may move a post whose outcome is not known."""
    leaving = {event for event in _E if allows(_P.UNKNOWN, event)}
    assert leaving == {
        _E.ACCEPT_PART,
        _E.ACCEPT_LAST,
        _E.NOT_TAKEN,
        _E.REFUSE,
        _E.LOSE_TRACK,
        _E.SEND_AGAIN,
        _E.ABANDON,
    }


def test_x_is_called_only_out_of_a_claim() -> None:
    """PUBLISHING begins with an intent, and an intent needs a claim, and a claim a post that waits."""
    into = {
        target: {
            (event, source) for event, row in POST_TABLE.items() for source, to in row.items() if to is target
        }
        for target in (_P.PUBLISHING, _P.CLAIMED)
    }
    assert into[_P.PUBLISHING] == {(_E.BEGIN, _P.CLAIMED)}
    assert {source for event, source in into[_P.CLAIMED] if event is _E.CLAIM} == {_P.SCHEDULED}


def test_published_is_the_end() -> None:
    """What is on X is not changed, called off, sent or missed here; it may only be forgotten."""
    assert {event for event in _E if allows(_P.PUBLISHED, event)} == {_E.DELETE}


def test_nothing_under_way_is_deleted_or_called_off() -> None:
    """A post that X may be hearing of must not disappear."""
    assert frozenset({_P.CLAIMED, _P.PUBLISHING, _P.UNKNOWN}) == UNSETTLED > LEASED
    for state, event in product(UNSETTLED, (_E.DELETE, _E.CANCEL, _E.EDIT, _E.RETRY)):
        assert not allows(state, event)


def test_every_state_of_a_post_can_be_reached() -> None:
    """A state that nothing leads to is a mistake in the table."""
    reached = {_P.DRAFT}
    while True:
        further = {to for row in POST_TABLE.values() for source, to in row.items() if source in reached}
        if further <= reached:
            break
        reached |= further
    assert reached == set(_P)


def test_a_refusal_names_state_and_event() -> None:
    """A client can tell what to change first."""
    with pytest.raises(FailedPrecondition) as refused:
        next_state(_P.PUBLISHED, _E.CANCEL)
    assert refused.value.reason == "INVALID_STATE"
    assert refused.value.metadata == {"state": "PUBLISHED", "event": "CANCEL"}
    assert "PUBLISHED" in refused.value.message


def test_there_is_no_way_back_from_archived() -> None:
    """Its handle may be another bot's by now."""
    for event in BotEvent:
        if event is BotEvent.ARCHIVE:
            assert next_state(BotState.ARCHIVED, event) is BotState.ARCHIVED
            continue
        with pytest.raises(FailedPrecondition) as refused:
            next_state(BotState.ARCHIVED, event)
        assert refused.value.reason == "BOT_ARCHIVED"


def test_what_x_says_does_not_undo_a_pause() -> None:
    """The kill switch is a person's."""
    for event in (BotEvent.VERIFY, BotEvent.REFUSE_CREDENTIALS, BotEvent.SUSPEND):
        assert BOT_TABLE[event][BotState.PAUSED] is BotState.PAUSED
