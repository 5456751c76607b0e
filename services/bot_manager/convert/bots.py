"""Bots and what is known of their credentials."""

from collections.abc import Mapping
from typing import Final, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from mesh.secret import Secret
from services.bot_manager.convert.common import from_time, time_field, to_document
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.bots import BotDraft
from services.bot_manager.domain.model import Bot, CredentialsStatus, Document
from services.bot_manager.domain.versions import etag_of
from services.bot_manager.tokens.port import TokenPair
from services.bot_manager.x.port import OAUTH1_FIELDS
from vivesphere.bot_manager.v1 import bot_pb2, credentials_pb2, quota_pb2, wall_time_pb2

M = TypeVar("M", bound=Message)

CHANGEABLE: Final = (
    "app_id",
    "handle",
    "display_name",
    "time_zone",
    "labels",
    "language",
    "automation",
    "policy",
    "budget",
    "slots",
)
"""Rules of a policy that this version would not keep."""


def to_draft(bot: bot_pb2.Bot) -> BotDraft:
    """What somebody says about a bot."""
    return BotDraft(
        handle=bot.handle,
        display_name=bot.display_name,
        time_zone=bot.time_zone,
        language=bot.language,
        app_id=bot.app_id.lower(),
        labels=dict(bot.labels),
        automation=to_document(bot.automation) if bot.HasField("automation") else None,
        policy=to_document(bot.policy) if bot.HasField("policy") else None,
        budget=to_document(bot.budget) if bot.HasField("budget") else None,
        slots=tuple(to_document(slot) for slot in bot.slots),
    )


def to_changed_draft(stored: Bot, given: bot_pb2.Bot, mask: FieldMask) -> BotDraft:
    """What a bot shall be after an update. Raises InvalidArgument (UNKNOWN_FIELD)."""
    return to_draft(merge(from_bot(stored), given, paths_of(given, mask, CHANGEABLE)))


def from_bot(bot: Bot) -> bot_pb2.Bot:
    """The contract's Bot."""
    return bot_pb2.Bot(
        id=bot.id,
        app_id=bot.app_id,
        handle=bot.handle,
        display_name=bot.display_name,
        time_zone=bot.time_zone,
        state=bot_pb2.BotState.Value(f"BOT_STATE_{bot.state}"),
        labels=bot.labels,
        x_user_id=bot.x_user_id,
        create_time=from_time(bot.create_time),
        update_time=from_time(bot.update_time),
        etag=etag_of(bot.version),
        language=bot.language,
        automation=_parsed(bot.automation, bot_pb2.AutomationDisclosure()),
        policy=_parsed(bot.policy, bot_pb2.PostingPolicy()),
        budget=_parsed(bot.budget, quota_pb2.Budget()),
        slots=[ParseDict(dict(slot), wall_time_pb2.Slot(), ignore_unknown_fields=True) for slot in bot.slots],
        credentials=None if bot.credentials is None else from_credentials(bot.credentials),
        state_detail=bot_pb2.BotStateDetail(
            reason=bot.state_detail.reason,
            message=bot.state_detail.message,
            actor=bot.state_detail.actor,
            time=from_time(bot.state_detail.time),
        ),
    )


def from_credentials(status: CredentialsStatus) -> credentials_pb2.CredentialsStatus:
    """The contract's CredentialsStatus."""
    return credentials_pb2.CredentialsStatus(
        kind=credentials_pb2.CredentialsKind.Value(f"CREDENTIALS_KIND_{status.kind}"),
        version=status.version,
        verified=status.verified,
        verify_time=from_time(status.verify_time),
        expire_time=from_time(status.expire_time),
        scopes=status.scopes,
        failure_reason=status.failure_reason,
    )


def to_secrets(credentials: credentials_pb2.OAuth1Credentials) -> Mapping[str, Secret]:
    """The four strings by name, no text from here on."""
    return {name: Secret(getattr(credentials, name)) for name in OAUTH1_FIELDS}


def to_tokens(credentials: credentials_pb2.OAuth2Credentials) -> tuple[TokenPair, Mapping[str, Secret]]:
    """The tokens, and the keys of their client as far as given."""
    pair = TokenPair(
        Secret(credentials.access_token),
        Secret(credentials.refresh_token) if credentials.refresh_token else None,
        time_field(credentials, "expire_time"),
        " ".join(credentials.scopes),
    )
    keys = {name: getattr(credentials, name) for name in ("client_id", "client_secret")}
    return pair, {name: Secret(value) for name, value in keys.items() if value}


def _parsed(document: Document | None, message: M) -> M | None:
    if document is None:
        return None
    return ParseDict(dict(document), message, ignore_unknown_fields=True)
