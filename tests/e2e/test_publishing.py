"""What whoever runs the mesh does about publishing: stop all of it, see how late it is, settle what it asks."""

from typing import Any

import httpx

from cli.rest import Api
from tests.e2e.conftest import Running
from tests.e2e.test_main_job import connected_bot, eventually, settled

SWITCH = "/api/v1/settings/bot_manager.publish.enabled"


def facts(running: Running) -> dict[str, int]:
    """What /readyz tells of publishing."""
    found: dict[str, Any] = httpx.get(f"{running.url}/readyz", timeout=10).json()
    told: dict[str, int] = found["facts"]["bot_manager"]["publishing"]
    return told


def test_one_switch_stops_all_publishing(running: Running, api: Api, sandbox: Api) -> None:
    """What is due waits and says why; the mesh is ready all the while, and tells how late the oldest is."""
    bot, account = connected_bot(api, sandbox, "switched")
    api.call("PATCH", SWITCH, {"value": False})
    try:
        assert eventually(lambda: facts(running)["enabled"], lambda enabled: enabled == 0) == 0
        post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "patience"}, publishNow="true")
        path = f"/api/v1/posts/{post['id']}"

        def told() -> list[str]:
            return [entry["message"] for entry in api.get(f"{path}/timeline")["entries"]]

        assert any("switched off" in message for message in eventually(told, lambda seen: len(seen) > 2))
        late = eventually(lambda: facts(running)["oldestOverdueSeconds"], lambda seconds: seconds >= 1)
        assert late >= 1
        assert api.get(path)["state"] == "POST_STATE_SCHEDULED"
        assert httpx.get(f"{running.url}/readyz", timeout=10).status_code == httpx.codes.OK
    finally:
        api.call("PATCH", SWITCH, {"value": True})
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    assert len(sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]) == 1


def test_a_person_settles_a_post_whose_answer_was_lost(api: Api, sandbox: Api) -> None:
    """Over REST, by whoever looked at the account."""
    bot, account = connected_bot(api, sandbox, "asked")
    sandbox.post("/sandbox/faults", {"kind": "no_id", "count": 1, "user_id": account["user_id"]})
    post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "is it there?"}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_UNKNOWN"
    [seen] = sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]
    word = {"resolution": "POST_RESOLUTION_PUBLISHED", "xPostId": seen["id"], "comment": "I looked"}
    resolved = api.post(f"/api/v1/posts/{post['id']}:resolve", word)
    assert (resolved["state"], resolved["xPostIds"]) == ("POST_STATE_PUBLISHED", [seen["id"]])
