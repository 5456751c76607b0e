"""No forged token gets in by the front door: what can be made of a good token and of the published keys, at every service, over REST.

`tests/laws/test_forged_tokens.py` tries what somebody could do who has the signing key; here nobody has it, and the whole mesh stands in
between: HTTP server, gateway, mutual TLS, the interceptor of each service.
"""

import base64
import json
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.rest import Api
from gateway.metadata import MAX_VALUE_CHARS
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_sign_in import EVERYWHERE, reason
from tests.fakes.forgery import Forged, strangers
from tests.fakes.leak_scan import Scan, files

TIMEOUT_SECONDS = 20.0
TRAVELS = MAX_VALUE_CHARS - len("Bearer ")
"""The longest token that the gateway passes on."""


@pytest.fixture
def good(running: Running) -> Iterator[str]:
    """An access token of an administrator."""
    with Api(running.url) as api:
        yield api.sign_in("admin", PASSWORD)["accessToken"]


def corpus(running: Running, good: str) -> list[Forged]:
    """Forged with nothing but the good token and what everybody can read."""
    key_id = json.loads(base64.urlsafe_b64decode(good.split(".")[0] + "=="))["kid"]
    published = httpx.get(f"{running.url}/.well-known/jwks.json", timeout=TIMEOUT_SECONDS).json()["keys"]
    raw = next(key["x"] for key in published if key["kid"] == key_id)
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(raw + "="))
    # White space at the end of a header is no part of it, and clients refuse to send it: see `raw_status`.
    return [case for case in strangers(good, public) if case.token.strip()]


def without_request(body: Any) -> Any:
    """An answer's body but for the id of its request, which tells answers apart and nothing else."""
    if isinstance(body, dict):
        return {name: without_request(value) for name, value in body.items() if name != "requestId"}
    return [without_request(item) for item in body] if isinstance(body, list) else body


@pytest.mark.parametrize("name", EVERYWHERE)
def test_forgeries_learn_one_thing_and_a_good_token_works_on(running: Running, good: str, name: str) -> None:
    """JWT-002 to JWT-100 by the door: 401 with one body, whatever is wrong; and none of them does harm to the next good token."""
    forged = corpus(running, good)
    assert len({case.token for case in forged}) > 350
    told: dict[str, list[str]] = {}
    with httpx.Client(base_url=running.url, timeout=TIMEOUT_SECONDS) as client:

        def ask(token: str) -> httpx.Response:
            return client.get(EVERYWHERE[name], headers={"authorization": f"Bearer {token}"})

        def attempt(case: Forged) -> None:
            answer = ask(case.token)
            if len(case.token) > TRAVELS:
                assert answer.status_code in (400, 401, 431), (case.label, answer.text)
            else:
                assert (answer.status_code, reason(answer)) == (401, "TOKEN_INVALID"), (
                    case.label,
                    answer.text,
                )
                told.setdefault(json.dumps(without_request(answer.json())), []).append(case.label)
            after = ask(good)
            assert reason(after) not in ("TOKEN_INVALID", "CREDENTIAL_MISSING"), f"after {case.label}"
            assert after.status_code < 500, f"after {case.label}"

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(attempt, forged))
    assert len(told) == 1, told
    assert "token" in next(iter(told))


def raw_status(running: Running, value: bytes) -> int:
    """The status of an answer to a request whose header a well-behaved client would not send; 0 if the door just closes."""
    address = urlsplit(running.url)
    with socket.create_connection(
        (address.hostname or "", address.port or 0), timeout=TIMEOUT_SECONDS
    ) as line:
        try:
            line.sendall(
                b"GET /api/v1/bots?pageSize=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Authorization: Bearer " + value + b"\r\n\r\n"
            )
            answer = line.recv(64)
        except (BrokenPipeError, ConnectionResetError):
            return 0
    return int(answer.split(b" ")[1]) if answer else 0


def test_what_cannot_travel_in_a_header_is_refused_and_breaks_nothing(running: Running, good: str) -> None:
    """Control characters, bytes that are no text, a mebibyte: the caller's fault, never ours."""
    token = good.encode()
    cases = {f"byte {byte:#04x}": token + bytes([byte]) + b"x" for byte in (*range(32), 0x7F, 0x80, 0xFF)}
    cases |= {
        "a header smuggled in": token[:-4] + b"\r\nX-Forwarded-For: 192.0.2.1",
        "folded": token[:20] + b"\r\n " + token[20:],
        "a mebibyte": token + b"x" * 2**20,
        "just over what the gateway passes on": b"x" * (TRAVELS + 1),
        "as long as it passes on": b"x" * TRAVELS,
        "UTF-8": token + "é".encode(),
        "nothing": b"",
        "spaces": b"  ",
    }
    statuses = {label: raw_status(running, value) for label, value in cases.items()}
    assert {label: status for label, status in statuses.items() if status not in (400, 401, 431)} == {}
    assert raw_status(running, token) == 200


def test_a_token_in_an_address_is_not_looked_at_and_not_written_down(running: Running, good: str) -> None:
    """JWT-096: addresses end up in logs, histories and referrers, so no method takes a token from there, and no file of ours keeps one."""
    marked = f"{good[:-12]}{secrets.token_hex(6)}"  # refused anyway, and nowhere else in the world
    with httpx.Client(base_url=running.url, timeout=TIMEOUT_SECONDS) as client:
        for path in EVERYWHERE.values():
            path = path.partition("?")[0]
            for name in ("access_token", "token", "authorization", "accessToken"):
                for value in (good, marked):
                    alone = client.get(path, params={name: value})
                    assert (alone.status_code, reason(alone)) in ((400, "UNKNOWN_FIELD"),), alone.text
                    assert value not in alone.text
            form = client.post("/api/v1/auth/logout", data={"access_token": good})
            assert form.status_code in (400, 401, 415), form.text
        header = {"authorization": f"Bearer {marked}"}
        assert client.get(EVERYWHERE["bot_manager"], headers=header).status_code == 401
        assert client.get("/api/v1/auth/me", headers={"authorization": f"Bearer {good}"}).status_code == 200
    signatures = Scan({"marked": marked[-24:], "good": good[-24:]})
    assert signatures.report(files(running.mesh.data.root)) == {}
