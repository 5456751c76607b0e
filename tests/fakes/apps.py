"""No developer apps."""

from mesh.errors import NotFound


class NoApps:
    """Implements AppClients where there are none: every bot brings its client's keys along."""

    async def client_of(self, app_id: str) -> str:
        """See the port."""
        raise NotFound("APP_NOT_FOUND", "no such app")

    async def app_of(self, client_id: str) -> str:
        """See the port."""
        return ""
