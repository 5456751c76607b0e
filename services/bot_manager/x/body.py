"""The body of `POST /2/tweets`: X's own names, and only those that are set, since X refuses unknown and empty ones.

Also its hash, by which a timeline shows that two attempts asked for the same.
"""

import hashlib
import json
from datetime import timedelta
from typing import Any

from services.bot_manager.x.port import XPostDraft


def create_body(draft: XPostDraft) -> dict[str, Any]:
    """The body as JSON values."""
    body: dict[str, Any] = {}
    if draft.text:
        body["text"] = draft.text
    if draft.media_ids:
        body["media"] = {"media_ids": list(draft.media_ids)}
    if draft.poll is not None:
        minutes = draft.poll.duration // timedelta(minutes=1)
        body["poll"] = {"options": list(draft.poll.options), "duration_minutes": minutes}
    if draft.reply_to:
        body["reply"] = {"in_reply_to_tweet_id": draft.reply_to}
    if draft.quote_of:
        body["quote_tweet_id"] = draft.quote_of
    for name in ("reply_settings", "community_id", "made_with_ai", "paid_partnership"):
        if value := getattr(draft, name):
            body[name] = value
    return body


def request_hash(draft: XPostDraft) -> str:
    """SHA-256 of the canonical body, lower-case hexadecimal; the same draft gives the same."""
    canonical = json.dumps(create_body(draft), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
