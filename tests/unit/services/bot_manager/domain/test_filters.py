"""Filters of lists: what is not understood is refused, never ignored."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.bot_manager.domain.filters import BOT_FIELDS, POST_FIELDS, parse_filter
from services.bot_manager.domain.listing import Condition, Operator


def test_comparisons_are_joined_by_and() -> None:
    """The examples of the contract."""
    assert parse_filter('state = ACTIVE AND labels.team = "news"', BOT_FIELDS) == (
        Condition("state", Operator.EQUALS, "ACTIVE"),
        Condition("labels", Operator.EQUALS, "news", "team"),
    )
    assert parse_filter('state = SCHEDULED AND scheduled_time < "2027-01-01T00:00:00Z"', POST_FIELDS) == (
        Condition("state", Operator.EQUALS, "SCHEDULED"),
        Condition("scheduled_time", Operator.LESS, datetime(2027, 1, 1, tzinfo=UTC)),
    )
    assert parse_filter(r'text:"say \"hi\" AND go"', POST_FIELDS)[0].value == 'say "hi" AND go'
    assert parse_filter("  ", POST_FIELDS) == ()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "state",
        "state = ",
        "state = NONSENSE",
        "color = red",
        "state = DRAFT state = FAILED",
        "state = DRAFT AND ",
        "state = DRAFT OR state = FAILED",
        "state < DRAFT",
        "create_time : 2026",
        "create_time = yesterday",
        "schedule_id = 12",
        "state.x = DRAFT",
        " AND ".join(["state = DRAFT"] * 17),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A filter that is half understood would show the wrong posts."""
    with pytest.raises(InvalidArgument) as refused:
        parse_filter(text, POST_FIELDS)
    assert refused.value.reason == "INVALID_FILTER"
    assert refused.value.violations[0].field == "filter"


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Parsed or refused; nothing in between."""
    with suppress(InvalidArgument):
        parse_filter(text, BOT_FIELDS)
