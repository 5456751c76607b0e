"""Update masks, and posts and bots through the contract and back."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import InvalidArgument
from services.bot_manager.convert import bots, posts
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.model import Bot, BotState, Part, Post, PostState
from vivesphere.bot_manager.v1 import bot_pb2, post_pb2

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOT = Bot("b", "acme", BotState.ACTIVE, NOW, NOW, display_name="Acme", labels={"team": "news"})
POST = Post("p", "b", PostState.DRAFT, (Part(0, "one"), Part(1, "two")), NOW, NOW)


def mask(*paths: str) -> FieldMask:
    return FieldMask(paths=paths)


def test_without_a_mask_what_is_set_is_changed() -> None:
    """A client that knows no masks changes what it sends and nothing else."""
    draft = bots.to_changed_draft(BOT, bot_pb2.Bot(language="de", id="x", etag="1"), mask())
    assert (draft.language, draft.display_name, draft.labels) == ("de", "Acme", {"team": "news"})


def test_what_is_named_and_absent_is_cleared() -> None:
    """Also inside of messages that are absent as a whole."""
    stored = replace(BOT, policy={"max_lateness": "60s", "unknown_outcome": "UNKNOWN_OUTCOME_POLICY_ASK"})
    draft = bots.to_changed_draft(stored, bot_pb2.Bot(), mask("labels", "policy.max_lateness"))
    assert draft.labels == {}
    assert draft.policy == {"unknown_outcome": "UNKNOWN_OUTCOME_POLICY_ASK"}
    assert bots.to_changed_draft(stored, bot_pb2.Bot(), mask("policy")).policy is None


@pytest.mark.parametrize("path", ["nonsense", "policy.nonsense", "labels.team", "handle.x", ""])
def test_an_unknown_path_is_refused(path: str) -> None:
    """A typing error must not look like success."""
    with pytest.raises(InvalidArgument) as refused:
        paths_of(bot_pb2.Bot(), mask(path), bots.CHANGEABLE)
    assert refused.value.reason == "UNKNOWN_FIELD"


def test_output_only_fields_are_passed_over() -> None:
    """A bot that was read can be sent back as it is."""
    sent = bots.from_bot(BOT)
    sent.state = bot_pb2.BOT_STATE_ARCHIVED
    assert "state" not in paths_of(sent, mask("state", "handle"), bots.CHANGEABLE)
    assert bots.to_changed_draft(BOT, sent, mask()) == bots.to_draft(bots.from_bot(BOT))


def test_text_and_first_part_go_together() -> None:
    """Whichever of the two is changed carries the other along."""
    by_text = posts.to_changed_draft(POST, post_pb2.Post(text="eins"), mask("text"))
    assert [part.text for part in by_text.parts] == ["eins", "two"]
    by_parts = posts.to_changed_draft(POST, post_pb2.Post(parts=[post_pb2.PostPart(text="uno")]), mask())
    assert (by_parts.text, [part.text for part in by_parts.parts]) == ("uno", ["uno"])


def test_content_beside_the_text_is_kept_as_it_is() -> None:
    """Nothing that a person asked for is silently dropped on its way to X."""
    message = post_pb2.Post(
        text="vote",
        poll=post_pb2.Poll(options=["a", "b"]),
        reply_settings=post_pb2.REPLY_SETTINGS_VERIFIED,
        made_with_ai=True,
        reply_to_x_post_id="12",
    )
    message.poll.duration.FromSeconds(3600)
    draft = posts.to_draft(message)
    back = posts.from_post(replace(POST, content=draft.content))
    assert merge(post_pb2.Post(), back, posts.CONTENT) == merge(post_pb2.Post(), message, posts.CONTENT)


def test_media_follow_the_form_in_which_they_were_changed() -> None:
    """`media_ids` is the short form of the first part, on update as on create."""
    stored = replace(POST, parts=(replace(POST.parts[0], media_ids=("old",)), *POST.parts[1:]))
    by_short = posts.to_changed_draft(stored, post_pb2.Post(media_ids=["new"]), mask())
    by_parts = posts.to_changed_draft(
        stored, post_pb2.Post(parts=[post_pb2.PostPart(text="x", media_ids=["new"])]), mask()
    )
    for draft in (by_short, by_parts):
        assert (draft.media_ids, draft.parts[0].media_ids) == (("new",), ("new",))
