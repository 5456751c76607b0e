"""A part of a post → what X is asked to take. What belongs to the whole thread goes with its first part, declarations with every part."""

from datetime import timedelta
from typing import Any, Final

from services.bot_manager.domain.model import Part, Post
from services.bot_manager.x.port import XPoll, XPostDraft

REPLY_SETTINGS: Final = {
    "REPLY_SETTINGS_FOLLOWING": "following",
    "REPLY_SETTINGS_MENTIONED_USERS": "mentionedUsers",
    "REPLY_SETTINGS_SUBSCRIBERS": "subscribers",
    "REPLY_SETTINGS_VERIFIED": "verified",
}
"""The contract's word → X's; everyone is the absence of a word."""


def draft_of(post: Post, part: Part, x_media_ids: tuple[str, ...] = ()) -> XPostDraft:
    """The draft of one part. Each after the first replies to the one before, which is on X already."""
    content = post.content
    with_ai, paid = bool(content.get("made_with_ai")), bool(content.get("paid_partnership"))
    if part.index > 0:
        before = post.parts[part.index - 1].x_post_id
        return XPostDraft(
            part.sent_text,
            reply_to=before,
            media_ids=x_media_ids,
            made_with_ai=with_ai,
            paid_partnership=paid,
        )
    return XPostDraft(
        part.sent_text,
        media_ids=x_media_ids,
        reply_to=content.get("reply_to_x_post_id", ""),
        quote_of=content.get("quote_x_post_id", ""),
        poll=_poll(content.get("poll")),
        reply_settings=REPLY_SETTINGS.get(content.get("reply_settings", ""), ""),
        community_id=content.get("community_id", ""),
        made_with_ai=with_ai,
        paid_partnership=paid,
    )


def _poll(document: Any) -> XPoll | None:
    if not document:
        return None
    seconds = float(str(document.get("duration", "0s")).removesuffix("s"))
    return XPoll(tuple(document.get("options", ())), timedelta(seconds=seconds))
