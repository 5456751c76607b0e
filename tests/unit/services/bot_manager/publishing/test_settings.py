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
