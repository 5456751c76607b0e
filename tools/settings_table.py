"""The table of all settings in docs/configuration.md, written from the definitions in code: `python -m tools.settings_table`.

Every module of the services and of the mesh is imported, and whatever is a definition in it is in the table. A test holds the page
against it, so that no setting is undocumented and none is documented that does not exist.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mesh
import services
from mesh.configuration import SettingDefinition

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
_SKIPPED = ("__main__", "migrations")


def definitions() -> list[SettingDefinition[Any]]:
    """Every setting that is declared in code, by key."""
    found = {
        thing.key: thing
        for package in (mesh, services)
        for module in _modules(package)
        for value in vars(module).values()
        for thing in (value if isinstance(value, tuple) else (value,))
        if isinstance(thing, SettingDefinition)
    }
    return [found[key] for key in sorted(found)]


def table() -> str:
    """The table as Markdown."""
    rows = ["| setting | default | unit | what it does |", "|---|---|---|---|"]
    for definition in definitions():
        default = _cell(f"`{json.dumps(definition.default, ensure_ascii=False)}`")
        note = " Taken at the next start." if definition.restart_required else ""
        rows.append(
            f"| `{definition.key}` | {default} | {definition.unit} | {_cell(definition.description)}{note} |"
        )
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page with the table of now between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not any(part in _SKIPPED for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
