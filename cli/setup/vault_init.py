"""First minutes of a Vault or OpenBao: initialise it once, unseal it after every start, and keep its keys.

A server with an automatic seal (the embedded OpenBao) gives recovery keys and unseals by itself; one with Shamir's seal gives
one unseal key, which is used here after each start. Token and keys go into one file of mode 0600. Blocking: run in a thread.
"""

import json
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from cli.errors import CliError
from cli.layout import write_private

ACTIVE_SECONDS = 15.0
PROBE_SECONDS = 5.0
INIT_SECONDS = 60.0
"""Initialising happens once, and its answer holds keys that are nowhere else: giving up early would lose them."""
NOT_INITIALISED = HTTPStatus.NOT_IMPLEMENTED  # how sys/health says it
SEALED = HTTPStatus.SERVICE_UNAVAILABLE


class VaultUnusable(CliError):
    """The vault cannot be set up; the message says what a person can do."""


def health(address: str, authority: Path | None) -> int:
    """Status of sys/health: 200 active, 501 not initialised, 503 sealed, 429, 472 and 473 standby; 0 when nothing answers. `authority`
    None: the public ones."""
    try:
        return _call("GET", f"{address}/v1/sys/health", authority).status_code
    except requests.RequestException:
        return 0


def root_token(address: str, authority: Path, keys_file: Path) -> str:
    """The administrator's token; initialises and unseals the server where needed.

    Raises VaultUnusable when the server does not become active, or is initialised and `keys_file` is gone.
    """
    if health(address, authority) == NOT_INITIALISED:
        write_private(keys_file, json.dumps(_initialise(address, authority)))
    if not keys_file.exists():
        raise VaultUnusable(
            f"the vault at {address} is in use, but the file with its token is gone: {keys_file}"
        )
    keys = json.loads(keys_file.read_text(encoding="utf-8"))
    if health(address, authority) == SEALED and keys.get("unseal_keys"):
        _call("PUT", f"{address}/v1/sys/unseal", authority, {"key": keys["unseal_keys"][0]})
    _wait_active(address, authority)
    return str(keys["root_token"])


def _initialise(address: str, authority: Path) -> dict[str, Any]:
    automatic = _call("GET", f"{address}/v1/sys/seal-status", authority).json().get("type") != "shamir"
    kind = "recovery" if automatic else "secret"
    shares = {f"{kind}_shares": 1, f"{kind}_threshold": 1}
    try:
        answer = _call("PUT", f"{address}/v1/sys/init", authority, shares, INIT_SECONDS)
    except requests.RequestException as error:
        raise VaultUnusable(
            f"the vault at {address} did not answer while it was initialised ({type(error).__name__}); "
            "if it is initialised now, its keys are lost: empty its storage and start again"
        ) from None
    if answer.status_code != HTTPStatus.OK:
        raise VaultUnusable(f"the vault at {address} refused to be initialised (status {answer.status_code})")
    made = answer.json()
    return {
        "root_token": made["root_token"],
        "recovery_keys": made.get("recovery_keys_base64", []),
        "unseal_keys": [] if automatic else made["keys_base64"],
    }


def _wait_active(address: str, authority: Path) -> None:
    deadline = time.monotonic() + ACTIVE_SECONDS
    while (status := health(address, authority)) != HTTPStatus.OK:
        if time.monotonic() > deadline:
            raise VaultUnusable(f"the vault at {address} did not become active (sys/health answers {status})")
        time.sleep(0.03)


def _call(
    method: str,
    url: str,
    authority: Path | None,
    body: dict[str, Any] | None = None,
    timeout: float = PROBE_SECONDS,
) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method,
            url,
            json=body,
            verify=str(authority) if authority else True,
            timeout=timeout,
            allow_redirects=False,
        )
