"""services/registry.toml is the one list of services: what it may say, and what it does say."""

import pytest

from cli.registry import REGISTRY_FILE, RegistryError, Service, load_registry, parse_registry


def test_the_projects_registry_names_the_five_services() -> None:
    """Everything else is derived from this file, so it must always be readable."""
    assert {service.name for service in load_registry(REGISTRY_FILE)} >= {
        "authentication",
        "configuration",
        "secure_bot_data",
        "logging",
        "bot_manager",
    }


def test_one_line_registers_a_service() -> None:
    """Adding a service must stay one line."""
    (service,) = parse_registry('trends = { database = true, publishes = ["events.trends.>"] }')
    assert service == Service("trends", database=True, publishes=("events.trends.>",))


def test_a_name_is_dashed_where_dns_and_vault_see_it() -> None:
    """Underscores are not allowed in DNS labels."""
    assert Service("secure_bot_data").dashed == "secure-bot-data"


def test_consumed_subjects_are_grouped_by_stream() -> None:
    """A service has one durable consumer a stream."""
    service = Service("watcher", consumes=("logs.*", "events.a.>", "events.b.>"))
    assert service.consumed_by_stream() == {"LOGS": ["logs.*"], "EVENTS": ["events.a.>", "events.b.>"]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Trends = {}", "Trends"),
        ("my-service = {}", "my-service"),
        ("trends = true", "trends"),
        ("trends = { databse = true }", "trends.databse"),
        ('trends = { database = "yes" }', "trends.database"),
        ('trends = { publishes = "events.trends.>" }', "trends.publishes"),
        ('trends = { publishes = ["$JS.API.>"] }', "trends.publishes"),
        ('trends = { publishes = [">"] }', "trends.publishes"),
        ('trends = { consumes = ["hints.configuration"] }', "trends.consumes"),
        ("trends = {", "registry.toml"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text: str, named: str) -> None:
    """A misspelt permission must not silently become no permission, nor every permission."""
    with pytest.raises(RegistryError, match=named.replace(".", r"\.")):
        parse_registry(text)


def test_only_hints_are_heard_without_a_consumer() -> None:
    """Records and events may hold what others must not know; a hint is a number."""
    assert parse_registry('trends = { hears = ["hints.trends"] }')[0].hears == ("hints.trends",)
    with pytest.raises(RegistryError, match=r"trends\.hears"):
        parse_registry('trends = { hears = ["events.trends.>"] }')
