"""An error as a page, for people whose browser was sent here: HTML without script or style, everything in it escaped.

Only for methods that answer a page themselves (google.api.HttpBody), and only for clients that ask for HTML by name. It says what the
JSON says: the message, the reason, what else the service told, and the request id by which the logs can be searched.
"""

import html
from typing import Any, Final

from gateway.transcoding.errors import ErrorAnswer

HTML: Final = b"text/html; charset=utf-8"


def wants_page(accept: str | None) -> bool:
    """Whether an Accept header names HTML, as browsers do for a page and programs do not."""
    return accept is not None and any(
        part.partition(";")[0].strip().lower() == "text/html" for part in accept.split(",")
    )


def error_page(answer: ErrorAnswer, request_id: str) -> bytes:
    """The page of an error."""
    details: list[Any] = answer.body.get("details", [])
    told: dict[str, str] = {}
    for detail in details:
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.ErrorInfo"):
            told = {"reason": str(detail.get("reason", "")), **dict(detail.get("metadata") or {})}
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>\n"
        for name, value in {**told, "request": request_id}.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>That did not work</title></head>\n'
        f"<body>\n<main>\n<h1>That did not work</h1>\n<p>{html.escape(str(answer.body.get('message', '')))}</p>\n"
        f"<dl>\n{rows}</dl>\n</main>\n</body>\n</html>\n"
    ).encode()
