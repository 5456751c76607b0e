"""Reads docker-compose.yml as Docker Compose does: YAML with merge keys, then `$$` and `${NAME:-default}` in every text."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from cli.registry import PROJECT_ROOT

COMPOSE_FILE = PROJECT_ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")


def load(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with the variables of `environ` (default: none) put in. Raises KeyError for a variable without value or default."""
    content: dict[str, Any] = _interpolated(
        yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8")), environ or {}
    )
    return content


def _interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, environ) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _replacement(found, environ), value)
    return value


def _replacement(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    given = environ.get(found["name"]) or found["default"]
    if given is None:
        raise KeyError(found["name"])
    return given
