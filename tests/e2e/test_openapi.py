"""The OpenAPI document holds: a running mesh is called by it, with everything it allows, and answers nothing that it does not say.

Schemathesis makes the requests. They are made by a user of this test's own, who may publish and read but neither sign others out nor
change settings, roles or keys, since the mesh serves other tests as well.
"""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.rest import Api
from tests.e2e.conftest import Running

LONG = os.environ.get("VIVESPHERE_TEST_PROFILE") == "long"
EXAMPLES = 100 if LONG else 2
OPERATIONS_A_TOKEN = 20  # a token lives five minutes
PASSWORD = "only for trying things out"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LEFT_OUT = {
    "AuthenticationService_Login": "failed sign-ins slow down those of the other tests, which come from the same address",
    "AuthenticationService_ChangePassword": "wrong passwords count as failed sign-ins",
    "AuthenticationService_EnrollTotp": "wrong passwords count as failed sign-ins",
    "AuthenticationService_ConfirmTotp": "wrong codes count as failed sign-ins",
    "AuthenticationService_DisableTotp": "wrong passwords count as failed sign-ins",
    "AuthenticationService_Logout": "ends the session that asks",
    "BotService_CreateBot": "bots of nobody would stay in lists that other tests read",
    "BotService_ArchiveBot": "ends the bot that the other methods are tried on",
    "BotService_DeleteBot": "ends the bot that the other methods are tried on",
    "LogService_IngestLogBatch": "made-up records would stand among those that other tests look for",
}


@pytest.fixture(scope="module")
def document(running: Running) -> dict[str, Any]:
    """The document as served."""
    answer = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=60)
    assert answer.status_code == 200
    return dict(answer.json())


def test_answers_are_as_the_document_says(running: Running, document: dict[str, Any]) -> None:
    """Clients are generated from it: a status, header or body that it does not know breaks them."""
    schema = schemathesis.openapi.from_dict(without_prose(document))
    with Api(running.url) as admin, Api(running.url) as user:
        admin.sign_in("admin", "a password of this test run")
        known = prepared(admin)
        token = ""
        failures: list[Exception] = []
        for number, operation in enumerate(tried(schema)):
            if number % OPERATIONS_A_TOKEN == 0:
                token = user.sign_in("explorer", PASSWORD)["accessToken"]
            try:
                try_out(operation, running.url, token, known, EXAMPLES)
                try_out(operation, running.url, token, {}, max(1, EXAMPLES // 3))
            except Exception as error:  # all of them in one run, not the first alone
                failures.append(error)
    if failures:
        raise ExceptionGroup("answers that the document does not know", failures)


def prepared(admin: Api) -> dict[str, str]:
    """Ids of things that exist, by the names of path parameters."""
    roles = ["operator", "auditor"]
    user = admin.post("/api/v1/users", {"username": "explorer", "password": PASSWORD, "roles": roles})
    bot = admin.post("/api/v1/bots", {"handle": "explored"})
    post = admin.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "explored"})
    schedule = admin.post(
        f"/api/v1/bots/{bot['id']}/schedules",
        {"recurrence": {"cron": "0 9 * * MON"}, "content": {"text": "Monday"}, "timeZone": "UTC"},
    )
    return {
        "botId": bot["id"],
        "postId": post["id"],
        "scheduleId": schedule["id"],
        "userId": user["id"],
        "roleId": "viewer",
        "key": "bot_manager.publish.max_attempts",
    }


def tried(schema: Any) -> Iterator[Any]:
    """Operations that can be tried: no endless streams, nothing that is left out for a reason."""
    for result in schema.get_all_operations():
        operation = result.ok()
        raw = operation.definition.raw
        if raw["operationId"] in LEFT_OUT or "text/event-stream" in raw["responses"]["200"]["content"]:
            continue
        yield operation


def try_out(operation: Any, url: str, token: str, known: dict[str, str], examples: int) -> None:
    """Call one operation a few times; raises schemathesis' failure, which shows the request as a command."""
    holes = {one["name"] for one in operation.definition.raw.get("parameters", ()) if one["in"] == "path"}
    fixed = {name: value for name, value in known.items() if name in holes}
    public = operation.definition.raw["security"] == []
    headers = {} if public else {"Authorization": f"Bearer {token}"}

    @settings(
        max_examples=examples,
        derandomize=not LONG,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(path_parameters=fixed or None))
    def attempt(case: Any) -> None:
        response = case.call(base_url=url, headers=headers, timeout=30)
        case.validate_response(response, checks=CHECKS)

    attempt()


def without_prose(node: Any, names: bool = False) -> Any:
    """The same contract without its texts, which would be copied for each method."""
    if isinstance(node, dict):
        dropped = () if names else ("description", "summary", "example", "examples")
        return {
            key: without_prose(below, key in ("properties", "responses", "paths", "schemas"))
            for key, below in node.items()
            if key not in dropped
        }
    return [without_prose(below) for below in node] if isinstance(node, list) else node
