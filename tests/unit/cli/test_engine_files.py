"""What the engines are told: NATS users with their permissions, and Vault policies."""

import json
import re
from pathlib import Path

import pytest

from cli.engines.nats import TERMINAL, permissions, render_configuration, users
from cli.layout import DataDir
from cli.registry import STREAM_OF, Service, load_registry
from cli.setup.vault_policies import UnsafeName, policy_text
from mesh.messaging.streams import STREAM_OF as MESH_STREAM_OF
from mesh.messaging.streams import consumers_of
from mesh.vault_names import VaultNames

SERVICES = load_registry()
BY_NAME = {service.name: service for service in SERVICES}


def test_only_bot_manager_may_publish_actions() -> None:
    """An action becomes a post on somebody's account."""
    may = [
        service.name
        for service in SERVICES
        if any(s.startswith("actions.") for s in permissions(service)["publish"])
    ]
    assert may == ["bot_manager"]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_no_service_may_administer_streams_or_hear_anothers_answers(service: Service) -> None:
    """Deny by default: only exact subjects and the service's own inbox."""
    rules = permissions(service)
    assert ">" not in rules["publish"]
    assert not any(
        re.match(r"\$JS\.API\.(>|STREAM\.(?!INFO)|CONSUMER\.(?!INFO|MSG))", s) for s in rules["publish"]
    )
    assert [s for s in rules["subscribe"] if s.startswith("_INBOX")] == [f"_INBOX_{service.name}.>"]


def test_only_the_supervisor_speaks_for_others_and_says_nothing_else() -> None:
    """Records on this subject may name any process."""
    rules = {str(user["user"]): user["permissions"] for user in users(SERVICES)}
    supervisor = rules.pop("spiffe://vivesphere/supervisor")
    assert supervisor == {"publish": [TERMINAL], "subscribe": ["_INBOX_supervisor.>"]}
    assert all(TERMINAL not in str(other) for other in rules.values())


def test_users_are_the_services_the_gateway_setup_and_the_supervisor() -> None:
    """A certificate without a user is refused by the server."""
    names = {str(user["user"]).removeprefix("spiffe://vivesphere/") for user in users(SERVICES)}
    assert names == {*BY_NAME, "gateway", "setup", "supervisor"}


def test_the_configuration_is_filled_in_completely(tmp_path: Path) -> None:
    """A word in braces would be taken for a string by the server."""
    text = render_configuration(
        SERVICES, DataDir(tmp_path).tls_files("nats"), "127.0.0.1:4222", tmp_path, "n"
    )
    assert "{{" not in text
    assert "sync_interval: always" in text
    assert json.loads(text.partition("\nauthorization: ")[2])["users"]


def test_the_registry_knows_the_streams_of_mesh() -> None:
    """Permissions are made from the one list, streams and consumers from the other."""
    assert STREAM_OF == MESH_STREAM_OF
    for service in SERVICES:
        made = {spec.stream: list(spec.subjects) for spec in consumers_of(service.name, service.consumes)}
        assert made == service.consumed_by_stream()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_only_secure_bot_data_may_touch_bot_secrets(service: Service) -> None:
    """That is the reason why it is a service of its own."""
    text = policy_text(service, VaultNames())
    assert "{{" not in text
    assert f'"vivesphere-transit/encrypt/{service.dashed}"' in text
    assert ("vivesphere-kv/" in text) == (service.name == "secure_bot_data")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_policy_names_the_mounts_of_this_installation_alone(service: Service) -> None:
    """A name left over from the defaults would open, or lock, somebody else's drawer."""
    text = policy_text(service, VaultNames("kv-of-ours", "accounts", "transit-of-ours"))
    paths = re.findall(r'^path "(.*)"', text, flags=re.MULTILINE)
    assert paths
    assert all(
        re.match(r"transit-of-ours/|kv-of-ours/(data|metadata|delete|undelete|destroy)/accounts/", path)
        for path in paths
    )


@pytest.mark.parametrize("name", ["*", "+", "a/b", "..", "", 'x" {} path "*'])
def test_a_name_that_would_widen_a_policy_is_refused(name: str) -> None:
    """Policies are text, and these characters mean something in it."""
    (service,) = (service for service in SERVICES if service.name == "secure_bot_data")
    for field in ("kv_mount", "kv_prefix", "transit_mount"):
        with pytest.raises(UnsafeName, match=field):
            policy_text(service, VaultNames(**{field: name}))
