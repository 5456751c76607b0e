"""What the gateway's edge does with the real services: conditions over their etags, compressed lists, pages of other origins."""

import httpx

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running

ROLE = "/api/v1/roles/edge"


def test_two_people_do_not_overwrite_each_other(running: Running, api: Api) -> None:
    """The second one to write reads again, whichever way the etag is given; and who has the current state need not load it."""
    token = api.sign_in("admin", PASSWORD)["accessToken"]
    made = api.post("/api/v1/roles", {"id": "edge", "description": "Edge", "permissions": ["bots.read"]})
    with httpx.Client(
        base_url=running.url, headers={"authorization": f"Bearer {token}"}, timeout=30
    ) as client:
        first = client.get(ROLE)
        etag = first.headers["etag"]
        assert etag == f'"{made["etag"]}"'
        assert client.get(ROLE, headers={"if-none-match": etag}).status_code == 304
        change = {"description": "Edge of the world"}
        changed = client.patch(ROLE, json=change, headers={"if-match": etag})
        assert changed.status_code == 200, changed.text
        assert client.get(ROLE, headers={"if-none-match": etag}).status_code == 200
        late = client.patch(ROLE, json={"description": "Late"}, headers={"if-match": etag})
        assert (late.status_code, "ETAG_MISMATCH" in late.text) == (412, True)
        assert client.patch(ROLE, json={"description": "Late", "etag": etag.strip('"')}).status_code == 409
        assert client.delete(ROLE, headers={"if-match": etag}).status_code == 412
        assert client.delete(ROLE, headers={"if-match": changed.headers["etag"]}).status_code == 200


def test_long_lists_are_compressed(running: Running, api: Api) -> None:
    """By what the contract marks, without a list of routes."""
    with httpx.Client(base_url=running.url, headers={"accept-encoding": "gzip"}, timeout=30) as client:
        login = {"username": "admin", "password": PASSWORD}
        signed_in = client.post("/api/v1/auth/login", json=login)
        bearer = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        listed = client.get("/api/v1/permissions", headers=bearer)
        assert listed.headers.get("content-encoding") == "gzip"
        assert "bots.read" in listed.text


def test_a_page_of_another_origin_gets_nowhere(running: Running) -> None:
    """As the product is delivered."""
    with httpx.Client(base_url=running.url, timeout=30) as client:
        page = {"origin": "https://console.example", "sec-fetch-site": "cross-site"}
        answer = client.post(
            "/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}, headers=page
        )
        assert (answer.status_code, "CROSS_ORIGIN_REFUSED" in answer.text) == (403, True)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
