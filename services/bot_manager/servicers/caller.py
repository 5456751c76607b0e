"""Who makes the call that is being served, what it is about, and which repeat of it is the same."""

import hashlib
from typing import TypeVar

from google.protobuf.message import Message

from mesh.context import Call, current_call
from mesh.errors import Internal
from services.bot_manager.store.ports import RequestKey

M = TypeVar("M", bound=Message)


def call_about(resource: str, bot_id: str = "") -> Call:
    """The call being served; `resource` and `bot_id` name for trail and logs what it is about."""
    call = current_call()
    if call is None:
        raise Internal("INTERNAL", "this is a bug: a servicer runs outside of the chain")
    call.resource = resource
    call.bot_id = bot_id or call.bot_id
    return call


def about_bot(bot_id: str) -> str:
    """The bot's id in canonical form, noted for the trail."""
    bot_id = bot_id.lower()
    call_about(f"bots/{bot_id}", bot_id)
    return bot_id


def about_post(post_id: str) -> str:
    """The post's id in canonical form, noted for the trail."""
    post_id = post_id.lower()
    call_about(f"posts/{post_id}")
    return post_id


def actor() -> str:
    """Who acts: a user id, as the trail names it."""
    call = current_call()
    if call is None:
        raise Internal("INTERNAL", "this is a bug: a servicer runs outside of the chain")
    return call.actor


def request_key(method: str, request: Message, request_id: str) -> RequestKey | None:
    """The key of a create; None if the client gave no request id. The id itself is no part of what was asked."""
    if not request_id:
        return None
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("request_id")
    digest = hashlib.sha256(asked.SerializeToString(deterministic=True)).digest()
    return RequestKey(request_id.lower(), method, actor(), digest)
