"""Run-time settings of media."""

from typing import Final

from mesh.configuration import SettingDefinition

KEEP: Final = SettingDefinition[int](
    key="bot_manager.media.keep",
    default=7 * 24 * 3600,
    json_schema={"type": "integer", "minimum": 3600, "maximum": 366 * 24 * 3600},
    description="How long an uploaded file is kept at least. It stays longer while a post needs it, and as long after a post that failed.",
    unit="seconds",
)
CALL_TIMEOUT: Final = SettingDefinition[float](
    key="bot_manager.media.call_timeout",
    default=20,
    json_schema={"type": "number", "minimum": 1, "maximum": 60},
    description="How long one call that brings media to X may take; a call carries 1 MiB at most.",
    unit="seconds",
)
PROCESSING_LIMIT: Final = SettingDefinition[int](
    key="bot_manager.media.processing_limit",
    default=900,
    json_schema={"type": "integer", "minimum": 10, "maximum": 24 * 3600},
    description="How long X may take to process a file before the post that needs it is FAILED.",
    unit="seconds",
)

DEFINITIONS: Final = (KEEP, CALL_TIMEOUT, PROCESSING_LIMIT)
