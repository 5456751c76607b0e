"""Laws of run-time settings: each is declared once, by its owner, with bounds and words that an operator can act on."""

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import mesh.identity.rules
import services
from mesh.configuration import SettingDefinition

ROOT = Path(__file__).resolve().parents[2]
CODE = ("mesh", "services", "gateway", "cli", "sandbox", "tools")
SHARED = {"mesh.identity.rules": "authentication", "mesh.redaction.settings": "logging"}
"""Settings that every service enforces and one service owns."""
QUANTITIES = re.compile(
    r"(_seconds|_bytes|age|staleness|interval|lifetime|pause|timeout|lease|tick|alarm|settle|retry|lateness|memory|attempts|lanes"
    r"|iterations|claimed|in_flight|per_user|per_bot)$"
)
"""Last segments that promise a quantity; without its unit nobody can set it."""


def declared() -> Iterator[tuple[str, SettingDefinition[Any]]]:
    """(module, definition) of every definition that a module of a service or of the shared rules declares."""
    names = [*SHARED]
    names += [
        found.name
        for found in pkgutil.walk_packages(services.__path__, "services.")
        if found.name.endswith("settings") and ".convert" not in found.name
    ]
    seen: set[int] = set()
    for name in names:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, SettingDefinition) and id(value) not in seen:
                seen.add(id(value))
                yield name, value


ALL = list(declared())
each = pytest.mark.parametrize(("module", "definition"), ALL, ids=[item.key for _, item in ALL])


def test_there_are_settings() -> None:
    """Laws of nothing hold."""
    assert len(ALL) > 30
    assert {module.split(".")[1] for module, _ in ALL} >= {"authentication", "bot_manager", "configuration"}


def test_each_key_is_declared_once() -> None:
    """Two declarations would be two defaults and two laws, and which one counts would depend on who starts last."""
    assert [key for key, times in Counter(item.key for _, item in ALL).items() if times > 1] == []


def test_no_key_stands_elsewhere_in_the_code() -> None:
    """Code names definitions. A key in a string would read a value past its type, its default and its law."""
    keys = {definition.key for _, definition in ALL}
    found: Counter[str] = Counter()
    for package in CODE:
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found.update(
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in keys
            )
    # Helpers that put the common beginning before the last segment leave no whole key in the source.
    assert {key: times for key, times in found.items() if times > 1} == {}


@each
def test_a_setting_belongs_to_the_service_that_declares_it(
    module: str, definition: SettingDefinition[Any]
) -> None:
    """Configuration refuses others, but only once the service starts."""
    owner = SHARED.get(module) or module.split(".")[1]
    assert definition.key.partition(".")[0] == owner


@each
def test_a_setting_says_what_it_does(module: str, definition: SettingDefinition[Any]) -> None:
    """For somebody who has never seen the code, in a sentence."""
    assert 20 <= len(definition.description) <= 1_000
    assert definition.description[0].isupper()
    assert definition.description.endswith(".")


@each
def test_every_number_has_bounds(module: str, definition: SettingDefinition[Any]) -> None:
    """A zero too many is the commonest mistake there is."""
    for schema in numbers_in(definition.json_schema):
        assert {"minimum", "exclusiveMinimum"} & schema.keys(), "no lower bound"
        assert {"maximum", "exclusiveMaximum"} & schema.keys(), "no upper bound"


@each
def test_every_text_and_list_has_an_end(module: str, definition: SettingDefinition[Any]) -> None:
    """Every queue a bound, every value too."""
    for schema in schemas_in(definition.json_schema):
        kind = schema.get("type")
        assert kind != "string" or {"maxLength", "enum", "const"} & schema.keys()
        assert kind != "array" or "maxItems" in schema


@each
def test_a_quantity_has_a_unit(module: str, definition: SettingDefinition[Any]) -> None:
    """`timeout: 10` is ten of what?"""
    number = definition.json_schema.get("type") in ("integer", "number")
    if number or QUANTITIES.search(definition.key):
        assert definition.unit, "a number without a unit"
    if definition.key.endswith("_seconds"):
        assert definition.unit == "seconds"


@each
def test_a_default_is_lawful_and_of_the_type_that_code_reads(
    module: str, definition: SettingDefinition[Any]
) -> None:
    """The default is what runs on most machines."""
    assert definition.fault(definition.default) == ""
    if definition.json_schema.get("type") == "integer":
        assert type(definition.default) is int


def test_shared_rules_are_registered_by_their_owner() -> None:
    """Settings that nobody registers could be read, and never be set."""
    from services.authentication.settings import DEFINITIONS

    assert {item.key for item in DEFINITIONS} >= {item.key for item in mesh.identity.rules.DEFINITIONS}


def schemas_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema and those within it."""
    yield schema
    for value in schema.values():
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        if isinstance(value, Mapping) and "type" in value:
            yield from schemas_in(value)
            continue
        for item in inner:
            if isinstance(item, Mapping):
                yield from schemas_in(item)


def numbers_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those that allow numbers."""
    for one in schemas_in(schema):
        if one.get("type") in ("integer", "number"):
            yield one
