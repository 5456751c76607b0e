"""A client of the public REST API, as any outside program would write one: JSON over HTTP, a bearer token, nothing of ours inside.

Raises `ApiError` with what the server said: status, reason, message and the fields it names.
"""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

TIMEOUT_SECONDS = 10.0
SILENCE_SECONDS = 20.0
"""A stream that says nothing for so long is dead; the server sends something every 5 seconds."""
DOWNLOAD_SILENCE_SECONDS = 150.0
"""A file may wait for a search between two pieces, which takes 120 seconds at most."""

Parameter = str | int | Sequence[str]
"""Of a query; a sequence is sent as so many parameters of the same name."""


class ApiError(Exception):
    """The server refused or failed. `reason` is the ErrorReason, `fields` the violations it names."""

    def __init__(self, status: int, body: Any) -> None:
        details = body.get("details", []) if isinstance(body, dict) else []
        self.status = status
        self.reason = next((d["reason"] for d in details if "reason" in d), "")
        self.fields = [v["field"] for d in details for v in d.get("fieldViolations", [])]
        self.violations = [
            (v.get("field", v.get("subject", "")), v.get("description", ""))
            for d in details
            for v in (*d.get("fieldViolations", []), *d.get("violations", []))
        ]
        """What is wrong with which field, (field, description)."""
        self.message = body.get("message", "") if isinstance(body, dict) else ""
        super().__init__(f"{status} {self.reason}: {self.message}" if self.message else f"HTTP {status}")


class Api:
    """REST calls below one base address. Use as a context manager."""

    def __init__(self, base_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=timeout_seconds)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def sign_in(self, username: str, password: str) -> dict[str, Any]:
        """Sign in; later calls carry the access token. Returns the token pair."""
        pair = self.post("/api/v1/auth/login", {"username": username, "password": password})
        self.carry(pair["accessToken"])
        return pair

    def carry(self, token: str) -> None:
        """Later calls carry this access token or API key."""
        self._client.headers["authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: Parameter) -> dict[str, Any]:
        """GET with query parameters in lowerCamelCase."""
        return self.call("GET", path, None, **query)

    def post(self, path: str, body: dict[str, Any], **query: Parameter) -> dict[str, Any]:
        """POST a JSON body."""
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT a JSON body."""
        return self.call("PUT", path, body)

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: Parameter
    ) -> dict[str, Any]:
        """Any method; raises ApiError."""
        response = self._client.request(method, path, json=body, params=query)
        parsed = _parsed(response)
        if response.is_error:
            raise ApiError(response.status_code, parsed)
        return dict(parsed)

    def text(self, path: str, **query: Parameter) -> str:
        """GET what is no JSON; raises ApiError."""
        response = self._client.get(path, params=query)
        if response.is_error:
            raise ApiError(response.status_code, _parsed(response))
        return response.text

    def stream(
        self, path: str, *, silence_seconds: float = SILENCE_SECONDS, **query: Parameter
    ) -> Generator[dict[str, Any], None, None]:
        """GET the items of a stream until it ends, or until it is closed; raises ApiError, also for an error that ends it."""
        with self._streaming(path, silence_seconds, query) as response:
            for line in response.iter_lines():
                item = json.loads(line)
                if "error" in item:
                    raise ApiError(response.status_code, item["error"])
                yield item["result"]

    def download(self, path: str, **query: Parameter) -> Iterator[bytes]:
        """GET a file in pieces; raises ApiError, and httpx.HTTPError for one that broke off."""
        with self._streaming(path, DOWNLOAD_SILENCE_SECONDS, query) as response:
            yield from response.iter_bytes()

    @contextmanager
    def _streaming(
        self, path: str, silence_seconds: float, query: Mapping[str, Parameter]
    ) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=silence_seconds)
        with self._client.stream("GET", path, params=dict(query), timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise ApiError(response.status_code, _parsed(response))
            yield response


def _parsed(response: httpx.Response) -> Any:
    try:
        return response.json() if response.content else {}
    except ValueError:
        return {}
