"""A client of the public REST API, as any outside program would write one: JSON over HTTP, a bearer token, nothing of ours inside.

Raises `ApiError` with what the server said: status, reason, message and the fields it names.
"""

from typing import Any

import httpx

TIMEOUT_SECONDS = 10.0


class ApiError(Exception):
    """The server refused or failed. `reason` is the ErrorReason, `fields` the violations it names."""

    def __init__(self, status: int, body: Any) -> None:
        details = body.get("details", []) if isinstance(body, dict) else []
        self.status = status
        self.reason = next((d["reason"] for d in details if "reason" in d), "")
        self.fields = [v["field"] for d in details for v in d.get("fieldViolations", [])]
        self.message = body.get("message", "") if isinstance(body, dict) else ""
        super().__init__(f"{status} {self.reason}: {self.message}" if self.message else f"HTTP {status}")


class Api:
    """REST calls below one base address. Use as a context manager."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def sign_in(self, username: str, password: str) -> dict[str, Any]:
        """Sign in; later calls carry the access token. Returns the token pair."""
        pair = self.post("/api/v1/auth/login", {"username": username, "password": password})
        self._client.headers["authorization"] = f"Bearer {pair['accessToken']}"
        return pair

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """GET with query parameters in lowerCamelCase."""
        return self.call("GET", path, None, **query)

    def post(self, path: str, body: dict[str, Any], **query: str | int) -> dict[str, Any]:
        """POST a JSON body."""
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT a JSON body."""
        return self.call("PUT", path, body)

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: str | int
    ) -> dict[str, Any]:
        """Any method; raises ApiError."""
        response = self._client.request(method, path, json=body, params=query)
        try:
            parsed = response.json() if response.content else {}
        except ValueError:
            parsed = {}
        if response.is_error:
            raise ApiError(response.status_code, parsed)
        return dict(parsed)
