"""How users and posts look in X's answers.

X is renaming its vocabulary. A request that asks with `post.fields` is answered in the new words (`repost_count`,
`edit_history_post_ids`, `referenced_posts`), any other in the old (`retweet_count`, `edit_history_tweet_ids`,
`referenced_tweets`), which is what tweepy reads.

A field is shown only when asked for; id, text and edit history always are. Fields that exist at X but have no meaning
here are accepted and left out. Non-public and organic metrics are for the author's eyes, and for 30 days.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sandbox import text
from sandbox.clock import rfc3339
from sandbox.media import media_key
from sandbox.problems import Document, field_document
from sandbox.store import Account, Post, Store

PRIVATE_METRICS_SECONDS = 30 * 24 * 60 * 60
PRIVATE_FIELDS = ("non_public_metrics", "organic_metrics")
_POST_FIELD_NAMES = (
    "article article_title attachments author_id card_uri community_id context_annotations conversation_id "
    "created_at display_text_range edit_controls edit_history_post_ids edit_history_tweet_ids entities geo id "
    "in_reply_to_user_id lang matched_media_notes media_metadata non_public_metrics note_post "
    "note_request_suggestions note_tweet organic_metrics paid_partnership possibly_sensitive promoted_metrics "
    "public_metrics referenced_posts referenced_tweets reply_settings scopes source suggested_source_links "
    "suggested_source_links_with_counts text username withheld"
)
_USER_FIELD_NAMES = (
    "affiliation confirmed_email connection_status created_at description entities id is_identity_verified "
    "location most_recent_post_id most_recent_tweet_id name parody pinned_post_id pinned_tweet_id "
    "profile_banner_url profile_image_url protected public_metrics receives_your_dm subscribes_to_you "
    "subscription subscription_type url username verified verified_followers_count verified_type withheld"
)
POST_FIELDS = frozenset(_POST_FIELD_NAMES.split())
USER_FIELDS = frozenset(_USER_FIELD_NAMES.split())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one side of the renaming."""

    post: str
    repost: str


OLD = Vocabulary(post="tweet", repost="retweet")
NEW = Vocabulary(post="post", repost="repost")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks, when, for which post fields, in which words."""

    user_id: str
    now: float
    fields: Collection[str] = ()
    words: Vocabulary = OLD


def post_view(store: Store, post: Post, viewer: Viewer) -> tuple[Document, list[Document]]:
    """The post as this viewer sees it, and an error for each field he asked for and may not see."""
    everything = _fields(store, post, viewer.words)
    always = {"id", "text", f"edit_history_{viewer.words.post}_ids"}
    hidden = [
        field for field in PRIVATE_FIELDS if field in viewer.fields and not _may_see_private(post, viewer)
    ]
    shown = {
        name: value
        for name, value in everything.items()
        if (name in always or name in viewer.fields) and name not in hidden
    }
    return shown, [field_document(viewer.words.post, field, post.id) for field in hidden]


def created_view(post: Post) -> Document:
    """What `POST /2/tweets` returns about a new post."""
    return {"id": post.id, "text": _shown_text(post).text, "edit_history_tweet_ids": [post.id]}


def user_view(store: Store, account: Account, fields: Collection[str], words: Vocabulary = OLD) -> Document:
    """A user with the fields asked for."""
    everything: Document = {
        "id": account.user_id,
        "name": account.handle,
        "username": account.handle,
        "created_at": rfc3339(account.created_ms),
        "description": "",
        "protected": False,
        "verified": False,
        "public_metrics": {
            "followers_count": 0,
            "following_count": 0,
            f"{words.post}_count": len(store.posts(account.user_id)),
            "listed_count": 0,
            "like_count": 0,
        },
    }
    return {name: value for name, value in everything.items() if name in {"id", "name", "username", *fields}}


def _may_see_private(post: Post, viewer: Viewer) -> bool:
    age = viewer.now - post.created_ms / 1000
    return post.user_id == viewer.user_id and age <= PRIVATE_METRICS_SECONDS


def _fields(store: Store, post: Post, words: Vocabulary) -> Document:
    shown = _shown_text(post)
    fields: Document = {
        "id": post.id,
        "text": shown.text,
        f"edit_history_{words.post}_ids": [post.id],
        "author_id": post.user_id,
        "created_at": rfc3339(post.created_ms),
        "conversation_id": post.conversation_id,
        "display_text_range": [0, len(shown.text)],
        "lang": "und",
        "possibly_sensitive": False,
        "reply_settings": post.reply_settings,
        **_metrics(store.metrics(post.id), words),
    }
    if shown.entities:
        fields["entities"] = shown.entities
    if attachments := _attachments(store, post):
        fields["attachments"] = attachments
    references = [("replied_to", post.in_reply_to), ("quoted", post.quote_of)]
    if any(target for _, target in references):
        fields[f"referenced_{words.post}s"] = [
            {"type": kind, "id": target} for kind, target in references if target
        ]
    if answered := store.post(post.in_reply_to or ""):
        fields["in_reply_to_user_id"] = answered.user_id
    return fields


def _metrics(counts: dict[str, int], words: Vocabulary) -> Document:
    reposts = f"{words.repost}_count"
    public = {
        reposts: counts["repost_count"],
        **{name: counts[name] for name in ("reply_count", "like_count", "quote_count", "bookmark_count")},
        "impression_count": counts["impression_count"],
    }
    clicks = {name: counts[name] for name in ("url_link_clicks", "user_profile_clicks")}
    impressions = {"impression_count": counts["impression_count"]}
    organic = {name: public[name] for name in (reposts, "reply_count", "like_count")}
    return {
        "public_metrics": public,
        "non_public_metrics": {**impressions, **clicks, "engagements": counts["engagements"]},
        "organic_metrics": {**impressions, **organic, **clicks},
    }


def _attachments(store: Store, post: Post) -> Document:
    attachments: Document = {}
    if shown := [media for media in map(store.media, post.media_ids) if media is not None]:
        attachments["media_keys"] = [media_key(media.category, media.id) for media in shown]
    if post.poll:
        attachments["poll_ids"] = [str(int(post.id) + 1)]
    return attachments


def _shown_text(post: Post) -> text.Rendered:
    return text.render(post.text)
