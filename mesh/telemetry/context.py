"""Puts the call being served into every log record made meanwhile: request, trace, actor, bot.

Read when a record is made, not set when a call begins, since most calls log nothing.
"""

from typing import TYPE_CHECKING

from mesh.context import current_call

if TYPE_CHECKING:
    from loguru import Record


def add_call_context(record: "Record") -> None:
    """Add the fields that the record does not have already."""
    call = current_call()
    if call is None:
        return
    extra = record["extra"]
    for name in ("request_id", "bot_id", "trace_id", "span_id"):
        value = getattr(call, name)
        if value:
            extra.setdefault(name, value)
    if call.principal is not None or call.policy is not None:
        extra.setdefault("actor", call.actor)
