"""From a part to what X is asked to take."""

from datetime import UTC, datetime, timedelta

from services.bot_manager.domain.model import Part, PartState, Post, PostState
from services.bot_manager.publishing.draft import draft_of
from services.bot_manager.x.body import create_body, request_hash
from services.bot_manager.x.port import XPoll, XPostDraft

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CONTENT = {
    "poll": {"options": ["yes", "no"], "duration": "3600s"},
    "reply_to_x_post_id": "7",
    "quote_x_post_id": "8",
    "reply_settings": "REPLY_SETTINGS_MENTIONED_USERS",
    "community_id": "9",
    "made_with_ai": True,
}


def post(*texts: str, **content: object) -> Post:
    parts = tuple(Part(index, text) for index, text in enumerate(texts))
    return Post("p", "b", PostState.CLAIMED, parts, NOW, NOW, content=content)


def test_the_first_part_carries_what_belongs_to_the_thread() -> None:
    """A poll under every part would be four polls."""
    draft = draft_of(post("one", "two", **CONTENT), Part(0, "one"))
    assert draft == XPostDraft(
        "one",
        reply_to="7",
        quote_of="8",
        poll=XPoll(("yes", "no"), timedelta(hours=1)),
        reply_settings="mentionedUsers",
        community_id="9",
        made_with_ai=True,
    )


def test_a_later_part_replies_to_the_one_before_and_repeats_declarations() -> None:
    """That is what makes it a thread; a disclosure holds for each post on its own."""
    thread = post("one", "two", **CONTENT)
    first = Part(0, "one", PartState.PUBLISHED, x_post_id="100")
    thread = Post("p", "b", PostState.CLAIMED, (first, thread.parts[1]), NOW, NOW, content=CONTENT)
    assert draft_of(thread, thread.parts[1]) == XPostDraft("two", reply_to="100", made_with_ai=True)


def test_nothing_that_is_not_set_is_sent() -> None:
    """X refuses empty and unknown fields."""
    assert create_body(draft_of(post("hi"), Part(0, "hi"))) == {"text": "hi"}
    everyone = post("hi", reply_settings="REPLY_SETTINGS_EVERYONE")
    assert create_body(draft_of(everyone, Part(0, "hi"))) == {"text": "hi"}


def test_the_same_request_has_the_same_hash() -> None:
    """A timeline shows by it whether an attempt asked for something else."""
    one, two = XPostDraft("hé", reply_to="1"), XPostDraft("hé", reply_to="1")
    assert request_hash(one) == request_hash(two) != request_hash(XPostDraft("hé"))
    assert len(request_hash(one)) == 64
