"""Copies as configuration would say them, without a wire."""

from typing import Any

from mesh.authorization import Binding
from mesh.configuration import SettingDefinition
from mesh.configuration.copy import Copy, Offer, Staged

HISTORY = "0190c6a1-0000-7000-8000-0000000000aa"
CHANGE = "0190c6a1-0000-7000-8000-0000000000cc"

ATTEMPTS = SettingDefinition[int](
    "bot_manager.publish.max_attempts", 3, {"type": "integer", "minimum": 1, "maximum": 50}, "Tries."
)
LEASE = SettingDefinition[float](
    "bot_manager.publish.lease", 60, {"type": "number", "minimum": 5, "maximum": 600}, "Lease."
)
WORDS = SettingDefinition[list[str]]("bot_manager.words", [], {"type": "array"}, "Words.")
FIXED = SettingDefinition[int](
    "bot_manager.publish.max_in_flight", 200, {"type": "integer"}, "Places.", restart_required=True
)


def said(revision: int, *offers: tuple[SettingDefinition[Any], Any], **more: Any) -> Copy:
    """A copy; each offer is a definition with its value, or with a whole Offer."""
    settings = {
        definition.key: value if isinstance(value, Offer) else Offer((value,)) for definition, value in offers
    }
    roles = {"viewer": frozenset({"posts.read"})}
    return Copy(
        more.get("history", HISTORY), revision, settings, roles, {"b1": Binding("ann", "viewer", "bot-1")}
    )


def staged(value: Any, new: tuple[Any, ...], share: int) -> Offer:
    """A value with another one in gradual roll-out."""
    return Offer((value,), staged=Staged(CHANGE, share, new))
