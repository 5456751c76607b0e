"""A search that cannot find anything proves nothing."""

import base64
import json
import random
import string
import urllib.parse
from pathlib import Path

import pytest
import zstandard

from tests.fakes.leak_scan import Canary, Scan, files

CANARY = Canary.new()
VALUE = CANARY.value("here")
SCAN = Scan({"canary": CANARY.stem})


@pytest.mark.parametrize(
    "form",
    [
        VALUE.encode(),
        CANARY.stem.encode(),
        VALUE.encode("utf-16-le"),
        VALUE.encode("utf-16-be"),
        VALUE.encode().hex().encode(),
        VALUE.encode().hex().upper().encode(),
        json.dumps(VALUE).encode(),
        json.dumps(json.dumps({"k": VALUE})).encode(),
        repr(VALUE).encode(),
        urllib.parse.quote(VALUE).encode(),
        *(base64.b64encode(b"x" * before + VALUE.encode() + b"y" * after) for before in range(4) for after in range(3)),
        *(base64.urlsafe_b64encode(b"\xfb" * before + VALUE.encode()) for before in range(4)),
        *(base64.b64encode(b"x" * before + CANARY.stem.encode()) for before in range(4)),
    ],
)  # fmt: skip
def test_every_form_is_found(form: bytes) -> None:
    """Whatever stands around it."""
    assert SCAN.found(b"before" + form + b"after")
    assert SCAN.report([("clean", b"before after"), ("dirty", form)]).keys() == {"dirty"}


def test_another_canary_is_not_found() -> None:
    """Otherwise every scan would fail, or this file would prove nothing."""
    assert SCAN.found(Canary.new().value("here").encode() * 3) == []


def test_files_are_searched_wherever_they_lie(tmp_path: Path) -> None:
    """Nested, large, with the value across any block boundary; what is left out is named by its folder."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "clean").write_bytes(b"nothing")
    (tmp_path / "deep" / "deeper" / "file").write_bytes(b"\0" * (3 << 20) + VALUE.encode())
    (tmp_path / "secrets" / "file").write_bytes(VALUE.encode())
    assert SCAN.report(files(tmp_path)).keys() == {"deep/deeper/file", "secrets/file"}
    assert SCAN.report(files(tmp_path, but=[tmp_path / "secrets"])).keys() == {"deep/deeper/file"}


def test_what_a_batch_of_logs_holds_is_found_too(tmp_path: Path) -> None:
    """In the spool several frames lie one behind the other, each behind a header; one may be cut off."""
    dice = random.Random(0)  # noqa: S311 - letters in whose company nothing is stored as it is
    frames = [
        zstandard.compress(("".join(dice.choices(string.ascii_letters, k=3000)) + VALUE).encode())
        for _ in range(3)
    ]
    (tmp_path / "spool").write_bytes(b"head".join([b"", *frames, frames[0][:20]]))
    assert CANARY.stem.encode() not in (tmp_path / "spool").read_bytes()
    ((_, data),) = files(tmp_path)
    assert data.count(CANARY.stem.encode()) == 3
