"""Run-time settings of prices and limits, and what is made of them at the time of use."""

from typing import Final

from mesh.configuration import SettingDefinition, SettingsView
from services.bot_manager.domain.money import PriceTable
from services.bot_manager.domain.reserving import Terms

LIST: Final = PriceTable()


def _price(key: str, default: int, what: str) -> SettingDefinition[int]:
    return SettingDefinition(
        key=f"bot_manager.prices.{key}",
        default=default,
        json_schema={"type": "integer", "minimum": 0, "maximum": 1_000_000_000},
        description=f"What X charges for {what}, where the bot's app does not say otherwise; 1,000,000 is one dollar.",
        unit="millionths of a US dollar",
    )


POST: Final = _price("post", LIST.post, "a post without a link")
POST_WITH_URL: Final = _price("post_with_url", LIST.post_with_url, "a post with a link")
SUMMONED_REPLY: Final = _price(
    "summoned_reply", LIST.summoned_reply, "a reply to a post of somebody else that mentions the bot"
)
DELETE: Final = _price("delete", LIST.delete, "the deletion of a post")
READ: Final = _price("read", LIST.read, "one post read")
OWNED_READ: Final = _price(
    "owned_read", LIST.owned_read, "one post read by the account that owns it and the app"
)
USER_READ: Final = _price("user_read", LIST.user_read, "one user read, as verifying credentials does")
MEDIA_METADATA: Final = _price("media_metadata", LIST.media_metadata, "one alternative text of a medium")
USER_POSTS: Final = SettingDefinition[int](
    key="bot_manager.limits.user_posts",
    default=100,
    json_schema={"type": "integer", "minimum": 1, "maximum": 1_000_000},
    description="Posts of one account that go out in 15 minutes, all parts counted. What X says tightens it, never loosens it.",
    unit="posts",
)

DEFINITIONS: Final = (
    POST,
    POST_WITH_URL,
    SUMMONED_REPLY,
    DELETE,
    READ,
    OWNED_READ,
    USER_READ,
    MEDIA_METADATA,
    USER_POSTS,
)


class Money(SettingsView):
    """The settings as they are read, all of one snapshot. READ is asked for by `read`, which is the name of that method too."""

    post = POST
    post_with_url = POST_WITH_URL
    summoned_reply = SUMMONED_REPLY
    delete = DELETE
    owned_read = OWNED_READ
    user_read = USER_READ
    media_metadata = MEDIA_METADATA
    user_posts = USER_POSTS


def terms_of(settings: Money) -> Terms:
    """What the publisher decides with."""
    return Terms(
        PriceTable(
            post=settings.post,
            post_with_url=settings.post_with_url,
            summoned_reply=settings.summoned_reply,
            delete=settings.delete,
            read=settings.read(READ),
            owned_read=settings.owned_read,
            user_read=settings.user_read,
            media_metadata=settings.media_metadata,
        ),
        settings.user_posts,
    )
