"""Reads the cases of this folder; every file says in `what` and `sources` what its cases mean and where they come from."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PROTOS = FOLDER / "protos"


def cases(name: str) -> list[Any]:
    """The cases of one file."""
    found: list[Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cases"]
    return found


_named = os.environ.get("VIVESPHERE_TRANSCODING_VECTORS", "")
SHARED = Path(_named) if _named and (Path(_named) / "golden_probes.json").is_file() else None
"""The folder of shared vectors, which are no part of the product; None where it is absent."""


def shared(name: str) -> list[Any]:
    """The cases of one shared file."""
    assert SHARED is not None
    found: list[Any] = json.loads((SHARED / name).read_text(encoding="utf-8"))["cases"]
    return found
