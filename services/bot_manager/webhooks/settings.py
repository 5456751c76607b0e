"""Run-time settings of webhooks."""

from datetime import timedelta
from typing import Final

from mesh.configuration import SettingDefinition, SettingsView


def _switch(key: str, description: str) -> SettingDefinition[bool]:
    return SettingDefinition(
        key=f"bot_manager.webhooks.{key}",
        default=False,
        json_schema={"type": "boolean"},
        description=description,
    )


def _count(key: str, default: int, most: int, unit: str, description: str) -> SettingDefinition[int]:
    return SettingDefinition(
        key=f"bot_manager.webhooks.{key}",
        default=default,
        json_schema={"type": "integer", "minimum": 1, "maximum": most},
        description=description,
        unit=unit,
    )


ALLOW_HTTP: Final = _switch(
    "allow_http",
    "Whether webhooks may be called without TLS. What they are sent can then be read on the way.",
)
ALLOW_PRIVATE: Final = _switch(
    "allow_private",
    "Whether webhooks may be called at addresses that are not of the public internet. Whoever may make webhooks can then make calls there.",
)
DISABLE_AFTER: Final = _count(
    "disable_after",
    5 * 24 * 3600,
    90 * 24 * 3600,
    "seconds",
    "How long the address of a webhook may take nothing before the webhook is DISABLED.",
)
MAX_WEBHOOKS: Final = _count("max_webhooks", 100, 1000, "webhooks", "Most webhooks that can be made.")
TIMEOUT: Final = _count("timeout", 10, 30, "seconds", "How long a webhook's address may take to answer.")

DEFINITIONS: Final = (ALLOW_HTTP, ALLOW_PRIVATE, DISABLE_AFTER, MAX_WEBHOOKS, TIMEOUT)


class WebhookSettings(SettingsView):
    """The settings as they are read, all of one snapshot."""

    allow_http = ALLOW_HTTP
    allow_private = ALLOW_PRIVATE
    disable_after = DISABLE_AFTER
    max_webhooks = MAX_WEBHOOKS
    timeout = TIMEOUT


def disable_after(settings: WebhookSettings) -> timedelta:
    """The value as a span."""
    return timedelta(seconds=settings.disable_after)
