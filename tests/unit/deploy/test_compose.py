"""Laws of docker-compose.yml: it is valid, complete, and gives nothing away."""

import importlib
import importlib.util
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

import sandbox.settings
from cli.pki import OTHER_IDENTITIES
from cli.registry import PROJECT_ROOT, load_registry
from cli.setup.command import SetupSettings
from gateway.settings import GatewaySettings, Limits, Transcoding
from mesh.settings import ProcessSettings, TlsSettings
from tests.unit.deploy.compose import COMPOSE_FILE, load

COMPOSE = load()
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVICES = {service.dashed: service for service in load_registry()}
JOBS = ("pki", "setup")
ENGINES = ("postgres", "nats", "vault")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|PRIVATE|_KEY")
OF_LIBPQ = {"PGSSLROOTCERT"}


def environment(name: str) -> dict[str, str]:
    given: dict[str, str] = CONTAINERS[name].get("environment", {})
    return given


def variables_of(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config["env_prefix"]
    return {f"{prefix}{field}".upper() for field in settings.model_fields}


def own_settings(service: str) -> list[type[BaseSettings]]:
    """The settings classes that a service adds to those of every process."""
    name = f"services.{service}.settings"
    if importlib.util.find_spec(name) is None:
        return []
    found = [value for value in vars(importlib.import_module(name)).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, BaseSettings) and kind.__module__ == name]


def known_variables(name: str) -> set[str]:
    """What the process of a container of ours reads."""
    if name in JOBS:
        return variables_of(SetupSettings) | {"VIVESPHERE_DATA_DIR"} | OF_LIBPQ
    if name == "sandbox":
        return {sandbox.settings.PREFIX + field.name.upper() for field in fields(sandbox.settings.Settings)}
    if name == "gateway":
        return variables_of(GatewaySettings) | variables_of(Limits) | variables_of(Transcoding)
    kinds: list[type[BaseSettings]] = [ProcessSettings, TlsSettings, *own_settings(SERVICES[name].name)]
    return set().union(*map(variables_of, kinds))


def mounts(name: str) -> dict[str, dict[str, Any]]:
    return {mount["target"]: mount for mount in CONTAINERS[name].get("volumes", [])}


def test_it_is_what_the_compose_specification_allows() -> None:
    """No Docker is at hand where this is developed; a misspelt key would be found by the first user."""
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE_FILE),
    ]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own arguments
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_registered_service_runs_under_its_dns_name() -> None:
    """Adding a service is one line in the registry; the name with dashes is what its certificate says and others look up."""
    others = {*JOBS, *ENGINES, "gateway", "sandbox"}
    assert CONTAINERS.keys() - others == SERVICES.keys()
    for name, service in SERVICES.items():
        assert CONTAINERS[name]["command"] == ["python", "-m", f"services.{service.name}"]
        url = environment(name).get("VIVESPHERE_DATABASE_URL", "")
        assert url.startswith(f"postgresql+psycopg://{service.name}@postgres:5432/") == service.database


@pytest.mark.parametrize("name", CONTAINERS.keys() - set(ENGINES))
def test_every_variable_is_read_by_somebody(name: str) -> None:
    """A setting that is misspelt is a setting that is not made."""
    assert environment(name).keys() <= known_variables(name)


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_environment_holds_a_secret(name: str) -> None:
    """Everybody who may ask the engine about a container sees its environment and its command."""
    for variable, value in environment(name).items():
        assert not SECRET_NAME.search(variable) or variable.endswith("_FILE"), variable
        assert not variable.endswith("_FILE") or value.startswith("/"), variable
        assert not re.search(r"//[^/@\s]*:[^/@\s]*@", value), variable
    assert not SECRET_NAME.search(
        " ".join(CONTAINERS[name].get("command", [])).upper().replace("SSL_KEY_FILE", "")
    )


def test_secrets_are_files_that_no_commit_can_take() -> None:
    """What a person puts into the tree gets committed one day, unless it is ignored."""
    ignored = (PROJECT_ROOT / "deploy" / "compose" / ".gitignore").read_text(encoding="utf-8").split()
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).parent == Path("deploy/compose/secrets")
    assert ignored == ["/secrets/"]


def test_nothing_is_published_beyond_loopback() -> None:
    """Both doors speak plaintext, and the sandbox's control needs no sign-in."""
    published = {name: container["ports"] for name, container in CONTAINERS.items() if "ports" in container}
    assert published.keys() == {"gateway", "sandbox"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert not any(
        "network_mode" in container and container["network_mode"] != "none"
        for container in CONTAINERS.values()
    )


def test_only_doors_and_the_caller_of_x_leave_the_inner_networks() -> None:
    """A service that was taken over shall not be able to phone home."""
    inner = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    leaving = {name for name, container in CONTAINERS.items() if set(container.get("networks", [])) - inner}
    assert leaving == {"gateway", "sandbox", "bot-manager"}
    assert inner.isdisjoint(CONTAINERS["sandbox"]["networks"])
    assert "engines" not in CONTAINERS["gateway"]["networks"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_confined(name: str) -> None:
    """The files of the mesh belong to one user without rights; limits keep one container from taking the host down."""
    container = CONTAINERS[name]
    assert container["user"] == "10001:10001"
    assert container["read_only"] is True
    assert container["ulimits"] == {"core": 0}  # a dump would hold what is in memory
    assert container["cap_drop"] == ["ALL"]
    assert "cap_add" not in container
    assert "privileged" not in container
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert {"memory", "pids"} <= container["deploy"]["resources"]["limits"].keys()
    assert container["restart"] == ("no" if name in JOBS else "unless-stopped")
    assert container["logging"]["options"]["max-size"]
    assert ("healthcheck" in container) == (name not in JOBS)


@pytest.mark.parametrize("name", CONTAINERS.keys() - set(JOBS))
def test_a_container_sees_its_own_certificate_and_secrets_only(name: str) -> None:
    """The volume `mesh` holds the vault's keys and the authority's; only the jobs may see all of it."""
    identity = SERVICES[name].name if name in SERVICES else name
    allowed = {f"tls/{identity}", f"secrets/{identity}"} | ({"run"} if name == "nats" else set())
    for mount in mounts(name).values():
        if mount.get("source") == "mesh":
            assert mount["volume"]["subpath"] in allowed
            assert mount["read_only"]
            assert mount["volume"]["nocopy"]  # at creation of the container the jobs have not made it yet
    if f"tls/{identity}" in {mount.get("volume", {}).get("subpath") for mount in mounts(name).values()}:
        assert identity in {*(service.name for service in SERVICES.values()), *OTHER_IDENTITIES}


def test_what_is_depended_on_exists_and_can_be_waited_for() -> None:
    """Compose refuses the whole file otherwise, or waits for ever."""
    for name, container in CONTAINERS.items():
        for other, how in container.get("depends_on", {}).items():
            assert other in CONTAINERS, name
            assert "profiles" not in CONTAINERS[other]
            if how["condition"] == "service_completed_successfully":
                assert CONTAINERS[other]["restart"] == "no"
            else:
                assert how["condition"] == "service_healthy"
                assert "healthcheck" in CONTAINERS[other]
        waits_for_files = (
            any(mount.get("source") == "mesh" for mount in mounts(name).values()) and name != "pki"
        )
        assert not waits_for_files or container["depends_on"].keys() & set(JOBS), name


def test_names_that_are_used_are_declared() -> None:
    """Volumes, networks and secrets that are not declared are errors; those that nobody uses are left over."""
    used: dict[str, set[str]] = {"volumes": set(), "networks": set(), "secrets": set()}
    for name, container in CONTAINERS.items():
        used["volumes"] |= {mount["source"] for mount in mounts(name).values() if mount["type"] == "volume"}
        used["networks"] |= set(container.get("networks", []))
        used["secrets"] |= set(container.get("secrets", []))
        for mount in mounts(name).values():
            assert mount["type"] != "bind" or (PROJECT_ROOT / mount["source"]).is_file()
    assert {kind: set(COMPOSE[kind]) for kind in used} == used


def test_x_is_the_real_one_unless_told_otherwise() -> None:
    """Nobody should find out from an empty timeline that the production mesh posts to a sandbox."""
    told = load({"VIVESPHERE_X_API_URL": "http://sandbox:8090"})["services"]["bot-manager"]["environment"]
    assert environment("bot-manager")["VIVESPHERE_X_API_URL"] == "https://api.x.com"
    assert told["VIVESPHERE_X_API_URL"] == "http://sandbox:8090"
    assert CONTAINERS["sandbox"]["profiles"] == ["sandbox"]
