"""What the service must know before it starts, and the settings it owns beside those of `publishing/settings.py`."""

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.configuration import SettingDefinition


class BotManagerSettings(BaseSettings):
    """Read once from the environment."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_", frozen=True)

    x_api_url: str = Field(default="https://api.x.com", pattern="^https?://[^/?#]+/?$")
    """Where X's API is; the local sandbox in the embedded default. Scheme, host and port only."""
    x_authorize_url: str = Field(
        default="https://x.com/i/oauth2/authorize", pattern="^https?://[^/?#]+/[^?#]*$"
    )
    """The page of X on which a person lets an app act for an account; the local sandbox's in the embedded default."""
    public_url: str = Field(default="http://127.0.0.1:8080", pattern="^https?://[^/?#]+/?$")
    """Where browsers reach the gateway: scheme, host and port. `/oauth/callback` below it has to be registered with X to the letter; X takes
    `127.0.0.1` for development, never `localhost`."""


MAX_LATENESS: Final = SettingDefinition[int](
    key="bot_manager.publish.max_lateness",
    default=3600,
    json_schema={"type": "integer", "minimum": 0, "maximum": 30 * 24 * 3600},
    description="How late a post may go out before it is MISSED. A bot's policy may say otherwise; counts for posts scheduled from then on.",
    unit="seconds",
)
