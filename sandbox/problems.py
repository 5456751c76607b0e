"""Every way the sandbox says no, as the RFC 7807-like documents X answers with.

    Problem             an answer that is an error; carries status, document and headers
    ├─ made by invalid_request, not_found, forbidden, unauthorized, too_many_requests, credits_depleted,
    │  internal_error, not_implemented, plain
    Invalid             a value breaks a rule; knows the parameter, not yet the shape of the answer

Clients should look at the last segment of `type`: X itself uses two host names in front of it. The documents carry
both the old (`errors`) and the new (`parameter`, `value`) description of what is wrong, as X has answered with both.
"""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

PROBLEMS = "https://api.x.com/2/problems/"
Document = dict[str, object]


class Problem(Exception):
    """An error answer. `headers` are added to the response."""

    def __init__(self, status: int, document: Document, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {document.get('title')}")
        self.status = status
        self.document = document
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The answer as X sends it."""
        return web.json_response(
            self.document, status=self.status, headers=self.headers, content_type="application/problem+json"
        )


class Invalid(ValueError):
    """A request breaks a rule: which parameter (dotted path), its value as text, and why."""

    def __init__(self, parameter: str, message: str, value: object = "") -> None:
        super().__init__(message)
        self.parameter = parameter
        self.message = message
        self.value = str(value)[:100]


def plain(status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Problem:
    """An `about:blank` problem: the status says it all, `detail` may say more."""
    title = HTTPStatus(status).phrase
    return Problem(
        status, {"type": "about:blank", "title": title, "detail": detail or title, "status": status}, headers
    )


def invalid_request(wrong: Invalid) -> Problem:
    """400: the request's shape or content is wrong; names the parameter."""
    return Problem(
        400,
        {
            "type": PROBLEMS + "invalid-request",
            "title": "Invalid Request",
            "detail": f"{wrong.parameter}: {wrong.message}",
            "status": 400,
            "parameter": wrong.parameter,
            "value": wrong.value,
            "errors": [{"parameters": {wrong.parameter: [wrong.value]}, "message": wrong.message}],
        },
    )


def not_found_document(resource_type: str, parameter: str, resource_id: str) -> Document:
    """What a missing user or post looks like, alone or among the `errors` of a partial answer."""
    return {
        "type": PROBLEMS + "resource-not-found",
        "title": "Not Found Error",
        "detail": f"Could not find {resource_type} with {parameter}: [{resource_id}].",
        "parameter": parameter,
        "resource_id": resource_id,
        "resource_type": resource_type,
        "value": resource_id,
    }


def field_document(resource_type: str, field: str, resource_id: str) -> Document:
    """Entry of a partial answer: this caller may not see `field` of this resource."""
    return {
        "type": PROBLEMS + "not-authorized-for-field",
        "title": "Field Authorization Error",
        "detail": f"'{field}' of the {resource_type} [{resource_id}] is only shown to its author, for 30 days.",
        "field": field,
        "resource_id": resource_id,
        "resource_type": resource_type,
        "section": "data",
    }


def not_found(resource_type: str, parameter: str, resource_id: str) -> Problem:
    """404 for one missing resource."""
    return Problem(404, {**not_found_document(resource_type, parameter, resource_id), "status": 404})


def duplicate_content() -> Problem:
    """403: this user has just posted this text."""
    return plain(403, "You are not allowed to create a Tweet with duplicate content.")


def unauthorized(reason: str) -> Problem:
    """401 with X's bare body; `reason` goes into a header of the sandbox's own, to help whoever debugs a client."""
    return plain(401, headers={"x-sandbox-reason": reason})


def too_many_requests(headers: Mapping[str, str]) -> Problem:
    """429: the window is used up; `headers` say until when."""
    return plain(429, headers=headers)


def usage_capped() -> Problem:
    """429: the posts that the app may read or write in a month are used up."""
    return Problem(
        429,
        {
            "type": PROBLEMS + "usage-capped",
            "title": "UsageCapExceeded",
            "detail": "Usage cap exceeded: Monthly product cap",
            "status": 429,
            "period": "Monthly",
            "scope": "Product",
        },
    )


def user_suspended() -> Problem:
    """403: the account is suspended."""
    return Problem(
        403,
        {
            "type": PROBLEMS + "user-suspended",
            "title": "Forbidden",
            "detail": "Your account is suspended and is not permitted to access this feature.",
            "status": 403,
        },
    )


def not_permitted() -> Problem:
    """403: the app's permissions did not include writing when the token was made."""
    return Problem(
        403,
        {
            "type": PROBLEMS + "oauth1-permissions",
            "title": "Forbidden",
            "detail": "Your client app is not configured with the appropriate oauth1 app permissions for this endpoint.",
            "status": 403,
        },
    )


def cold_reply() -> Problem:
    """403: nobody in the conversation has asked for this reply."""
    return plain(
        403,
        "Reply to this conversation is not allowed because you have not been mentioned or otherwise engaged.",
    )


def credits_depleted() -> Problem:
    """402: the developer account has run out of credits."""
    return Problem(
        402,
        {
            "type": PROBLEMS + "credits-depleted",
            "title": "CreditsDepleted",
            "detail": "The enrolled account has no credits left to fulfil this request.",
            "status": 402,
        },
    )


def internal_error() -> Problem:
    """500: the outcome is unknown to the client."""
    return Problem(
        500,
        {
            "type": PROBLEMS + "internal-error",
            "title": "Internal Server Error",
            "detail": "Something went wrong on our end.",
            "status": 500,
        },
    )


def not_implemented(what: str) -> Problem:
    """501: X has this, the sandbox does not."""
    return plain(501, f"The sandbox does not offer {what}.")
