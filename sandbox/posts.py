"""What a post may be: the rules of `POST /2/tweets` that need no signature and no network.

Order: shape of the body → attachments that exclude each other → text present and short enough → what it answers or
quotes exists → not a duplicate. The first broken rule decides.

Not here yet: cold replies, the ban on quotes for self-serve apps, edits, long posts.
"""

import unicodedata
from collections.abc import Mapping
from typing import cast

from sandbox import body, problems, text
from sandbox.body import array, choice, flag, identifier, record, string, whole
from sandbox.problems import Invalid
from sandbox.store import Draft, Poll, Store

_ANY_TEXT = string()
_WHO_REPLIES = choice("following", "mentionedUsers", "subscribers", "verified")
_SITE = record({"url": _ANY_TEXT}, required=("url",))
_CALLS_TO_ACTION = record(
    {
        "app_install": record(
            {"app_store_id": _ANY_TEXT, "ipad_app_store_id": _ANY_TEXT, "play_store_id": _ANY_TEXT}
        ),
        "visit_site": _SITE,
        "watch_now": _SITE,
    }
)
_MEDIA = record(
    {
        "media_ids": array(identifier, 1, 4),
        "tagged_user_ids": array(identifier, 0, 10),
        "call_to_actions": _CALLS_TO_ACTION,
        "description": _ANY_TEXT,
        "embeddable": flag,
        "preview_media_id": identifier,
        "title": _ANY_TEXT,
    },
    required=("media_ids",),
)
_POLL = record(
    {
        "options": array(string(1, 25), 2, 4),
        "duration_minutes": whole(5, 10_080),
        "reply_settings": _WHO_REPLIES,
    },
    required=("options", "duration_minutes"),
)
_REPLY = record(
    {
        "in_reply_to_tweet_id": identifier,
        "exclude_reply_user_ids": array(identifier, 0, 100),
        "auto_populate_reply_metadata": flag,
    },
    required=("in_reply_to_tweet_id",),
)
_CREATE = record(
    {
        "text": _ANY_TEXT,
        "media": _MEDIA,
        "poll": _POLL,
        "reply": _REPLY,
        "quote_tweet_id": identifier,
        "card_uri": _ANY_TEXT,
        "direct_message_deep_link": _ANY_TEXT,
        "reply_settings": _WHO_REPLIES,
        "community_id": identifier,
        "edit_options": record({"previous_post_id": identifier}, required=("previous_post_id",)),
        "geo": record({"place_id": _ANY_TEXT}, required=("place_id",)),
        "for_super_followers_only": flag,
        "share_with_followers": flag,
        "nullcast": flag,
        "made_with_ai": flag,
        "paid_partnership": flag,
    }
)
_EXCLUSIVE = ("media", "poll", "quote_tweet_id", "card_uri")


def draft_of(raw: bytes) -> Draft:
    """Read and judge the body of `POST /2/tweets` on its own.

    Raises:
        Problem: 400 invalid-request naming the parameter, or 501 for an edit.
    """
    try:
        given = body.parse_object(raw)
        _CREATE(given, "$")
        _check_exclusive(given)
        _check_text(given)
    except Invalid as wrong:
        raise problems.invalid_request(wrong) from wrong
    if "edit_options" in given:
        raise problems.not_implemented("edits")
    return _draft(given)


def check_against(store: Store, user_id: str, draft: Draft, duplicate_window_seconds: float) -> None:
    """Judge a draft against what X already holds.

    Raises:
        Problem: 404 for an unknown reply or quote target, 403 for duplicate content.
    """
    for parameter, target in (
        ("in_reply_to_tweet_id", draft.in_reply_to),
        ("quote_tweet_id", draft.quote_of),
    ):
        if target is not None and store.post(target) is None:
            raise problems.not_found("tweet", parameter, target)
    if draft.text.strip() and not draft.media_ids:
        wanted = _comparable(draft.text)
        recent = store.posts_since(user_id, duplicate_window_seconds)
        if any(_comparable(post.text) == wanted for post in recent):
            raise problems.duplicate_content()


def _check_exclusive(given: Mapping[str, object]) -> None:
    present = [name for name in _EXCLUSIVE if name in given]
    if len(present) > 1:
        raise Invalid(present[1], f"cannot be combined with {present[0]}")


def _check_text(given: Mapping[str, object]) -> None:
    content = cast("str", given.get("text", ""))
    if not content.strip() and "media" not in given:
        raise Invalid("text", "is required unless media is given", content)
    if (weight := text.weight(content)) > text.MAX_WEIGHT:
        raise Invalid(
            "text", f"is too long: it weighs {weight}, at most {text.MAX_WEIGHT} are allowed", content
        )


def _draft(given: Mapping[str, object]) -> Draft:
    media = cast("Mapping[str, list[str]]", given.get("media", {}))
    reply = cast("Mapping[str, str]", given.get("reply", {}))
    return Draft(
        text=cast("str", given.get("text", "")),
        in_reply_to=reply.get("in_reply_to_tweet_id"),
        quote_of=cast("str | None", given.get("quote_tweet_id")),
        media_ids=tuple(media.get("media_ids", [])),
        poll=_poll(cast("Mapping[str, object] | None", given.get("poll"))),
        reply_settings=cast("str", given.get("reply_settings", "everyone")),
    )


def _poll(given: Mapping[str, object] | None) -> Poll | None:
    if given is None:
        return None
    return Poll(tuple(cast("list[str]", given["options"])), cast("int", given["duration_minutes"]))


def _comparable(content: str) -> str:
    return " ".join(unicodedata.normalize("NFC", content).split())
