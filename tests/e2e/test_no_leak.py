"""A planted secret is looked for in everything that is written to disk, and found nowhere."""

import base64
import secrets
from pathlib import Path

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_main_job import settled

CHUNK = 1 << 20


def holders(folder: Path, canaries: list[bytes]) -> list[str]:
    """Files below `folder` that hold a canary, plain or in base64 or hex."""
    needles = [
        shape
        for canary in canaries
        for shape in (canary, base64.b64encode(canary).rstrip(b"=")[:-2], canary.hex().encode())
    ]
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            tail = b""
            while block := file.read(CHUNK):
                if any(needle in tail + block for needle in needles):
                    found.append(str(path.relative_to(folder)))
                    break
                tail = block[-200:]
    return found


def test_credentials_are_in_no_file_in_clear(running: Running, api: Api, sandbox: Api) -> None:
    """Database files, write-ahead log, NATS store, vault storage, spools and the output of every process."""
    account = sandbox.post("/sandbox/accounts", {"handle": "discreet"})
    bot = api.post("/api/v1/bots", {"handle": "discreet"})
    mine = {
        "consumerKey": account["consumer_key"],
        "consumerSecret": account["consumer_secret"],
        "accessToken": account["access_token"],
        "accessTokenSecret": account["access_token_secret"],
    }
    assert api.put(f"/api/v1/bots/{bot['id']}/credentials", {"oauth1": mine})["verified"]
    post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "nothing to see"}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    canary = f"canary-{secrets.token_urlsafe(24)}"
    planted = {**mine, "consumerSecret": canary, "accessTokenSecret": f"{canary}-2"}
    api.put(f"/api/v1/bots/{bot['id']}/credentials", {"oauth1": planted, "skipVerification": True})
    secret_values = [account["consumer_secret"], account["access_token_secret"], canary, PASSWORD]
    assert holders(running.mesh.data.root, [value.encode() for value in secret_values]) == []


def test_the_search_itself_finds_what_is_there(tmp_path: Path) -> None:
    """A search that cannot find anything proves nothing."""
    (tmp_path / "plain").write_bytes(b"x" * CHUNK + b"canary-abcdefgh" + b"y")
    (tmp_path / "encoded").write_bytes(base64.b64encode(b"canary-abcdefgh"))
    assert sorted(holders(tmp_path, [b"canary-abcdefgh"])) == ["encoded", "plain"]
