"""X developer apps."""

from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from mesh.secret import Secret
from services.bot_manager.convert.common import from_time, parsed, to_document
from services.bot_manager.convert.masks import merge, paths_of
from services.bot_manager.domain.apps import AppDraft
from services.bot_manager.domain.money import App, AppState, AppStatus, Breaker, Tier
from services.bot_manager.domain.versions import etag_of
from vivesphere.bot_manager.v1 import app_pb2, quota_pb2

SECRETS: Final = ("consumer_key", "consumer_secret", "client_secret", "bearer_token")
CHANGEABLE: Final = (
    "display_name",
    "client_id",
    "credentials",
    "tier",
    "limits",
    "prices",
    "budget",
    "state",
)


def to_draft(app: app_pb2.App) -> AppDraft:
    """What somebody says about an app."""
    return AppDraft(
        display_name=app.display_name,
        client_id=app.client_id,
        tier=Tier(app_pb2.AppTier.Name(app.tier).removeprefix("APP_TIER_")) if app.tier else Tier.PAY_PER_USE,
        limits=to_document(app.limits) if app.HasField("limits") else None,
        prices=to_document(app.prices) if app.HasField("prices") else None,
        budget=to_document(app.budget) if app.HasField("budget") else None,
        state=AppState.PAUSED if app.state == app_pb2.APP_STATE_PAUSED else AppState.ACTIVE,
        secrets={name: Secret(value) for name in SECRETS if (value := getattr(app.credentials, name))},
    )


def to_changed_draft(stored: App, given: app_pb2.App, mask: FieldMask) -> AppDraft:
    """What an app shall be after an update; of its secrets, those to replace. Raises InvalidArgument (UNKNOWN_FIELD)."""
    return to_draft(merge(from_app(AppStatus(stored), ""), given, paths_of(given, mask, CHANGEABLE)))


def from_app(status: AppStatus, callback_url: str) -> app_pb2.App:
    """The contract's App, without its secrets."""
    app = status.app
    return app_pb2.App(
        id=app.id,
        display_name=app.display_name,
        client_id=app.client_id,
        credentials_version=app.credentials_version,
        tier=app_pb2.AppTier.Value(f"APP_TIER_{app.tier}"),
        limits=parsed(app.limits, app_pb2.AppLimits()),
        prices=parsed(app.prices, app_pb2.PriceTable()),
        budget=parsed(app.budget, quota_pb2.Budget()),
        state=app_pb2.AppState.Value(f"APP_STATE_{app.state}"),
        callback_url=callback_url,
        breaker=from_breaker(status.breaker),
        bot_count=status.bot_count,
        create_time=from_time(app.create_time),
        update_time=from_time(app.update_time),
        etag=etag_of(app.version),
    )


def from_breaker(breaker: Breaker | None) -> quota_pb2.CircuitBreaker:
    """The contract's CircuitBreaker; a closed one for None."""
    if breaker is None:
        return quota_pb2.CircuitBreaker()
    return quota_pb2.CircuitBreaker(
        open=True,
        reason=breaker.reason,
        message=breaker.message,
        open_time=from_time(breaker.open_time),
        retry_time=from_time(breaker.retry_time),
    )
