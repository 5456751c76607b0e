"""Settings of publishing: sound by themselves and together."""

from datetime import timedelta

import jsonschema

from services.bot_manager.publishing.settings import DEFINITIONS, Publish, PublishSettings


def test_every_default_holds_its_own_schema_and_keys_are_unique() -> None:
    """A default that is refused would keep the service from registering."""
    for definition in DEFINITIONS:
        jsonschema.validate(definition.default, dict(definition.json_schema))
    assert len({definition.key for definition in DEFINITIONS}) == len(DEFINITIONS)


def test_a_lease_always_outlasts_a_call() -> None:
    """Otherwise every post would be given up just before its first byte."""
    settings = PublishSettings.of(Publish.of(lease=5, request_timeout=60))
    assert settings.lease > settings.request_timeout * 2
    assert settings.request_timeout == timedelta(seconds=60)


def test_a_settle_window_always_outlasts_a_lease() -> None:
    """A call may begin as long as its lease lasts, also after a replica whose clock is ahead has ended it."""
    settings = PublishSettings.of(Publish.of(lease=120, settle=1, settle_window=5))
    assert settings.window.length == settings.lease == timedelta(seconds=120)
    assert PublishSettings.of(Publish.of()).window.length == timedelta(minutes=10)
