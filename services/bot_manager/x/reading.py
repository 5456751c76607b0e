"""X's documents → what the port promises. Old and new names of fields are both understood; what is missing counts as nothing.

A document that has not even the shape (no account, a post without an id) is Unavailable (X_UNAVAILABLE): it is no answer.
"""

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mesh.errors import Unavailable
from services.bot_manager.x.port import XAccount, XMetrics, XMetricsRead, XPost, XTimeline

Document = Mapping[str, Any]


def account(document: Document) -> XAccount:
    """Of `GET /2/users/me`."""
    data = _mapping(document.get("data"))
    user_id, handle = data.get("id"), data.get("username")
    if not (isinstance(user_id, str) and user_id and isinstance(handle, str) and handle):
        raise Unavailable("X_UNAVAILABLE", "X did not say whose credentials these are")
    return XAccount(user_id, handle)


def metrics(document: Document) -> XMetricsRead:
    """Of `GET /2/tweets`. A post is gone only where X says that it cannot be found."""
    found = {_id(post): _metrics(post) for post in _items(document, "data")}
    gone = {
        str(error.get("resource_id") or error.get("value"))
        for error in _items(document, "errors")
        if str(error.get("type", "")).rpartition("/")[2] == "resource-not-found"
    }
    return XMetricsRead(found, frozenset(gone - found.keys()))


def timeline(document: Document) -> XTimeline:
    """Of one page of `GET /2/users/{id}/tweets`. Any error beside the posts makes it incomplete."""
    posts = [_post(post) for post in _items(document, "data")]
    return XTimeline(posts, complete=not document.get("errors") and "meta" in document)


def next_token(document: Document) -> str | None:
    """Token of the next page; None on the last."""
    token = _mapping(document.get("meta")).get("next_token")
    return token if isinstance(token, str) and token else None


def _metrics(post: Document) -> XMetrics:
    public, private = _mapping(post.get("public_metrics")), _mapping(post.get("non_public_metrics"))
    reposts = public.get("repost_count", public.get("retweet_count"))
    return XMetrics(
        impressions=_count(public.get("impression_count")),
        likes=_count(public.get("like_count")),
        reposts=_count(reposts),
        replies=_count(public.get("reply_count")),
        quotes=_count(public.get("quote_count")),
        bookmarks=_count(public.get("bookmark_count")),
        url_clicks=_count(private.get("url_link_clicks")),
        profile_clicks=_count(private.get("user_profile_clicks")),
        private=bool(private),
    )


def _post(post: Document) -> XPost:
    references = _items(post, "referenced_tweets") or _items(post, "referenced_posts")
    targets = {str(one.get("type")): str(one.get("id", "")) for one in references}
    attachments = _mapping(post.get("attachments"))
    return XPost(
        x_post_id=_id(post),
        text=_full_text(post),
        create_time=_time(post.get("created_at")),
        reply_to=targets.get("replied_to", ""),
        quote_of=targets.get("quoted", ""),
        media_count=len(attachments.get("media_keys") or ()),
        poll=bool(attachments.get("poll_ids")),
    )


def _full_text(post: Document) -> str:
    """The text as its author wrote it, as far as X tells: links are replaced before entities are resolved, as X escapes last."""
    text = str(post.get("text", ""))
    for link in _items(_mapping(post.get("entities")), "urls"):
        short, long = link.get("url"), link.get("expanded_url")
        if isinstance(short, str) and isinstance(long, str) and short:
            text = text.replace(short, html.escape(long, quote=False), 1)
    return html.unescape(text)


def _id(post: Document) -> str:
    value = post.get("id")
    if not (isinstance(value, str) and value):
        raise Unavailable("X_UNAVAILABLE", "X told of a post without an id")
    return value


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise Unavailable("X_UNAVAILABLE", "X told of a post without its time") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _items(document: Document, name: str) -> list[Document]:
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _mapping(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
