"""Use cases of X developer apps: make, find, change, delete. Their secrets go to secure_bot_data; nothing of them stays here.

Secrets given replace those stored, the others stay. Nothing is stored or changed here unless the Vault has taken them, and nothing is
deleted unless it has destroyed them.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import InvalidArgument, MeshError, OutcomeUnknown
from mesh.secret import Secret
from services.bot_manager.domain.listing import Page, Query
from services.bot_manager.domain.model import Document
from services.bot_manager.domain.money import App, AppState, AppStatus, Tier
from services.bot_manager.domain.versions import check_etag
from services.bot_manager.store.ports import RequestKey

Fields = Mapping[str, Secret]
CLIENT_ID: Final = "client_id"
CLIENT_SECRET: Final = "client_secret"  # noqa: S105 - the name of a field, not a secret
CONSUMER: Final = ("consumer_key", "consumer_secret")


@dataclass(frozen=True, slots=True)
class AppDraft:
    """An app as somebody described it. `secrets` are those given, by name of field."""

    display_name: str = ""
    client_id: str = ""
    tier: Tier = Tier.PAY_PER_USE
    limits: Document | None = None
    prices: Document | None = None
    budget: Document | None = None
    state: AppState = AppState.ACTIVE
    secrets: Fields = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StoredSecrets:
    """The app's secrets as they are kept. `version` is secure_bot_data's, 0 if there are none."""

    version: int = 0
    fields: Fields = field(default_factory=dict, repr=False)


class AppSecrets(Protocol):
    """secure_bot_data, as far as apps go. Raises what it or the way to it raises."""

    async def read(self, app_id: str) -> StoredSecrets: ...

    async def store(self, app_id: str, fields: Fields, expected: int) -> int:
        """Store over version `expected`, 0 for the first; the version they became. Raises Aborted (VERSION_MISMATCH)."""
        ...

    async def destroy(self, app_id: str) -> None:
        """Destroy all versions. Does nothing to what is destroyed already."""
        ...


class AppStore(Protocol):
    """Apps. Each method is one transaction; changes of one app wait for each other, publishing does not wait for them."""

    async def create(self, app: App, key: RequestKey | None) -> AppStatus:
        """Store a new app, or answer the one that the key made before. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED)."""
        ...

    async def recall(self, key: RequestKey) -> AppStatus | None:
        """What the key stands for. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED)."""
        ...

    async def get(self, app_id: str) -> AppStatus:
        """Raises NotFound (APP_NOT_FOUND)."""
        ...

    async def list(self, query: Query) -> Page[AppStatus]: ...

    async def change(self, app_id: str, edit: Callable[[App], Awaitable[App]]) -> AppStatus:
        """Replace the app by `edit(app)`. Raises NotFound (APP_NOT_FOUND) and what `edit` raises."""
        ...

    async def delete(self, app_id: str, end: Callable[[App], Awaitable[None]]) -> None:
        """Delete the app after `end(app)`. Raises NotFound, FailedPrecondition (APP_IN_USE), and what `end` raises."""
        ...


class Apps:
    """See the module. `new_id` makes ids."""

    def __init__(self, store: AppStore, secrets: AppSecrets, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._new_id = new_id

    async def create(self, draft: AppDraft, actor: str, key: RequestKey | None) -> AppStatus:
        """Make an app. Raises InvalidArgument, and what storing secrets raises; then nothing is stored."""
        first = await self._store.recall(key) if key else None
        if first is not None:
            return first
        now = self._clock.now()
        app = _described(App(self._new_id(), "", now, now, creator=actor), draft)
        fields = merged({}, draft.secrets, app.client_id)
        if fields:
            app = replace(app, credentials_version=await self._secrets.store(app.id, fields, 0))
        try:
            made = await self._store.create(app, key)
        except OutcomeUnknown:
            raise
        except MeshError:
            await self._forget(app)
            raise
        if made.app.id != app.id:
            await self._forget(app)
        return made

    async def get(self, app_id: str) -> AppStatus:
        """Raises NotFound (APP_NOT_FOUND)."""
        return await self._store.get(app_id)

    async def list(self, query: Query) -> Page[AppStatus]:
        """A page of apps."""
        return await self._store.list(query)

    async def update(self, app_id: str, etag: str, describe: Callable[[App], AppDraft]) -> AppStatus:
        """Change what `describe` says. Raises NotFound, Aborted, InvalidArgument, and what storing secrets raises."""

        async def edit(app: App) -> App:
            check_etag(etag, app.version)
            draft = describe(app)
            changed = _described(app, draft)
            version = await self._store_secrets(app, changed, draft.secrets)
            changed = replace(changed, credentials_version=version)
            if changed == app:
                return app
            return replace(changed, version=app.version + 1, update_time=self._clock.now())

        return await self._store.change(app_id, edit)

    async def delete(self, app_id: str, etag: str) -> None:
        """Delete the app and destroy its secrets. Raises NotFound, Aborted, FailedPrecondition (APP_IN_USE), Unavailable."""

        async def end(app: App) -> None:
            check_etag(etag, app.version)
            # A read that was cut off, or a store whose answer was lost, may have left some that the app does not know of.
            await self._secrets.destroy(app.id)

        await self._store.delete(app_id, end)

    async def _store_secrets(self, app: App, changed: App, given: Fields) -> int:
        renamed = changed.client_id != app.client_id and app.credentials_version > 0
        if not given and not renamed:
            return app.credentials_version
        stored = await self._secrets.read(app.id)
        fields = merged(stored.fields, given, changed.client_id)
        if fields == dict(stored.fields):
            return stored.version
        return await self._secrets.store(app.id, fields, stored.version)

    async def _forget(self, app: App) -> None:
        """Nobody will know of these secrets; if they cannot be destroyed now, they lie under an id that no app has."""
        if app.credentials_version:
            with suppress(MeshError):
                await self._secrets.destroy(app.id)


def merged(stored: Fields, given: Fields, client_id: str) -> dict[str, Secret]:
    """The secrets as they become. Raises InvalidArgument (INVALID_FIELD) where one lacks its partner."""
    fields = {name: value for name, value in stored.items() if name != CLIENT_ID} | dict(given)
    key, secret = CONSUMER
    for present, absent in ((key, secret), (secret, key)):
        if present in fields and absent not in fields:
            raise InvalidArgument(
                "INVALID_FIELD", f"is needed together with {present}", field=f"app.credentials.{absent}"
            )
    if CLIENT_SECRET in fields:
        if not client_id:
            raise InvalidArgument(
                "INVALID_FIELD", "is needed, since the app has a client secret", field="app.client_id"
            )
        fields[CLIENT_ID] = Secret(client_id)
    elif fields and key not in fields:
        raise InvalidArgument(
            "INVALID_FIELD", "a bearer token is kept only beside the app's keys", field="app.credentials"
        )
    return fields


def _described(app: App, draft: AppDraft) -> App:
    if not draft.display_name.strip():
        raise InvalidArgument("INVALID_FIELD", "an app needs a name", field="app.display_name")
    return replace(
        app,
        display_name=draft.display_name,
        client_id=draft.client_id,
        tier=draft.tier,
        limits=draft.limits,
        prices=draft.prices,
        budget=draft.budget,
        state=draft.state,
    )
