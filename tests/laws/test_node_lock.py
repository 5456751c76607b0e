"""What the TypeScript clients install is pinned by hash and comes from no address of ours."""

import json
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).resolve().parents[1] / "clients" / "typescript"


def locked() -> dict[str, dict[str, Any]]:
    """Every package of the lock, by the folder it is put into."""
    packages: dict[str, dict[str, Any]] = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]
    return {folder: package for folder, package in packages.items() if folder}


def test_every_package_is_pinned_by_its_hash_and_names_no_registry() -> None:
    """Whoever installs decides which mirror is asked; what comes from it is compared."""
    assert locked()
    for folder, package in locked().items():
        assert package["integrity"].startswith("sha512-"), folder
        assert "resolved" not in package, folder


def test_no_package_runs_a_script_when_it_is_installed() -> None:
    """A dependency is data until it is called."""
    assert "ignore-scripts=true" in (CLIENTS / ".npmrc").read_text().splitlines()
