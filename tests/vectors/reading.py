"""Reads the cases of this folder; every file says in `what` and `sources` what its cases mean and where they come from."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PROTOS = FOLDER / "protos"


def cases(name: str) -> list[Any]:
    """The cases of one file."""
    found: list[Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cases"]
    return found
