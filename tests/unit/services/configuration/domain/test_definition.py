"""Definitions: who may declare what, and which of two counts."""

from dataclasses import replace

import pytest

from mesh.errors import InvalidArgument, PermissionDenied
from services.configuration.domain.definition import (
    Definition,
    check_definition,
    owner_of,
    release_order,
    replaces,
)

ATTEMPTS = Definition(
    key="bot_manager.publish.max_attempts",
    json_schema={"type": "integer", "minimum": 1},
    default=3,
    description="How often.",
    owner="bot_manager",
    release="1.2.0",
)


@pytest.mark.parametrize("key", ["logging.retention", "bot_managers.x", "botmanager.x", "bot_manager"])
def test_a_service_declares_below_its_own_name_only(key: str) -> None:
    """Otherwise one compromised service could redefine what another one obeys."""
    if key == "bot_manager":
        assert owner_of(key, "bot_manager") == "bot_manager"
        return
    with pytest.raises(PermissionDenied) as refused:
        owner_of(key, "bot_manager")
    assert refused.value.reason == "SERVICE_NOT_ALLOWED"


def test_everyone_declares_what_is_shared() -> None:
    """Settings of the mesh have no single owner."""
    assert owner_of("mesh.log_level", "logging") == "mesh"


def test_nobody_declares_without_a_name() -> None:
    """An empty first segment must not match an unknown peer."""
    with pytest.raises(PermissionDenied):
        owner_of(".x", "authentication")


def test_a_default_obeys_its_own_schema() -> None:
    """It is in force until somebody stores something."""
    with pytest.raises(InvalidArgument) as refused:
        check_definition(replace(ATTEMPTS, default=0), "definitions[2]")
    assert refused.value.violations[0].field == "definitions[2].default_value"


def test_a_schema_that_is_none_is_refused() -> None:
    """It could judge nothing."""
    with pytest.raises(InvalidArgument) as refused:
        check_definition(replace(ATTEMPTS, json_schema={"type": 5}), "definitions[0]")
    assert refused.value.violations[0].field == "definitions[0].json_schema"


def test_an_older_release_never_replaces_a_newer_one() -> None:
    """During an upgrade both run; the new law must not flap with each restart of an old process."""
    changed = replace(ATTEMPTS, default=5)
    assert replaces(changed, ATTEMPTS)
    assert replaces(replace(changed, release="1.10.0"), ATTEMPTS)
    assert not replaces(replace(changed, release="1.2.0-rc.1"), ATTEMPTS)


def test_a_repeat_replaces_nothing() -> None:
    """Every start declares everything again; that must not make revisions."""
    assert not replaces(replace(ATTEMPTS, release="2.0.0"), ATTEMPTS)
    assert replaces(
        replace(ATTEMPTS, default=True, json_schema={}), replace(ATTEMPTS, default=1, json_schema={})
    )


def test_releases_sort_as_semantic_versioning_says() -> None:
    """Semantic Versioning 2.0.0 section 11.4 gives this very order."""
    ordered = [
        "no version",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
    ]
    shuffled = [ordered[index * 7 % len(ordered)] for index in range(len(ordered))]
    assert sorted(shuffled, key=release_order) == ordered
    assert release_order("1.0.0+build.7") == release_order("1.0.0")
