"""Reading the query of X's read endpoints, as strictly as X does.

A parameter X does not know is an error; one that X knows and the sandbox does not offer is a 501, so that no client
mistakes silence for an answer.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sandbox import problems
from sandbox.body import identifier
from sandbox.clock import milliseconds_of
from sandbox.problems import Invalid
from sandbox.store import Post
from sandbox.views import NEW, OLD, POST_FIELDS, USER_FIELDS, Vocabulary

MAX_IDS = 100
DEFAULT_PAGE = 10
LARGEST_ID = (1 << 63) - 1
_FIELD_PARAMETERS = frozenset({"tweet.fields", "post.fields", "user.fields"})
_NOT_OFFERED = frozenset({"expansions", "media.fields", "poll.fields", "place.fields"})


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a timeline is asked for; ids and times are half-open: `after < id < before`."""

    size: int
    after_id: int
    before_id: int
    start_ms: float
    end_ms: float
    without_replies: bool

    def wants(self, post: Post) -> bool:
        """Whether a post belongs to what is asked for."""
        return (
            self.after_id < int(post.id) < self.before_id
            and self.start_ms <= post.created_ms < self.end_ms
            and not (self.without_replies and post.in_reply_to)
        )


def check_names(query: Mapping[str, str], allowed: Collection[str]) -> None:
    """Refuse parameters that the endpoint does not have. Raises Invalid, or Problem 501."""
    for name in query:
        if name in allowed or name in _FIELD_PARAMETERS:
            continue
        if name in _NOT_OFFERED:
            raise problems.not_implemented(f"the query parameter {name}")
        raise Invalid(name, "is not a query parameter of this endpoint", query[name])


def post_fields(query: Mapping[str, str]) -> tuple[frozenset[str], Vocabulary]:
    """The post fields asked for, and the words to answer in. Raises Invalid."""
    asked = _listed(query, "tweet.fields", POST_FIELDS) | _listed(query, "post.fields", POST_FIELDS)
    return asked, NEW if "post.fields" in query else OLD


def user_fields(query: Mapping[str, str]) -> frozenset[str]:
    """The user fields asked for. Raises Invalid."""
    return _listed(query, "user.fields", USER_FIELDS)


def ids(query: Mapping[str, str]) -> list[str]:
    """The ids of a look-up, each once, in the order given. Raises Invalid."""
    if "ids" not in query:
        raise Invalid("ids", "is missing but it is required")
    given = list(dict.fromkeys(query["ids"].split(",")))
    if len(given) > MAX_IDS:
        raise Invalid("ids", f"has {len(given)} entries, at most {MAX_IDS} are allowed", query["ids"])
    for one in given:
        identifier(one, "ids")
    return given


def page(query: Mapping[str, str]) -> Page:
    """The part of a timeline that is asked for. Raises Invalid."""
    after, before = _id(query, "since_id", 0), _id(query, "until_id", LARGEST_ID)
    start, end = _time(query, "start_time", float("-inf")), _time(query, "end_time", float("inf"))
    if start >= end:
        raise Invalid("start_time", "must be earlier than end_time", query["start_time"])
    if "since_id" in query and after >= before:
        raise Invalid("since_id", "must be less than until_id", query["since_id"])
    if "pagination_token" in query:
        before = min(before, _page_token(query["pagination_token"]))
    excluded = _listed(query, "exclude", frozenset({"replies", "retweets"}))
    return Page(_size(query), after, before, start, end, "replies" in excluded)


def token_after(post: Post) -> str:
    """The pagination token that continues a newest-first page after `post`: base32hex, as X's are."""
    return base64.b32hexencode(post.id.encode()).decode().rstrip("=").lower()


def _page_token(token: str) -> int:
    try:
        text = base64.b32hexdecode(token.upper() + "=" * (-len(token) % 8)).decode()
        identifier(text, "pagination_token")
    except (binascii.Error, ValueError) as error:
        raise Invalid("pagination_token", "is not a token of this endpoint", token) from error
    return int(text)


def _listed(query: Mapping[str, str], name: str, known: frozenset[str]) -> frozenset[str]:
    asked = query[name].split(",") if name in query else []
    for field in asked:
        if field not in known:
            raise Invalid(name, f"[{field[:50]}] is not one of its values", field)
    return frozenset(asked)


def _size(query: Mapping[str, str]) -> int:
    text = query.get("max_results", str(DEFAULT_PAGE))
    if not re.fullmatch("[0-9]{1,3}", text, re.ASCII) or not 5 <= int(text) <= 100:
        raise Invalid("max_results", "must be a whole number from 5 to 100", text)
    return int(text)


def _id(query: Mapping[str, str], name: str, default: int) -> int:
    if name not in query:
        return default
    identifier(query[name], name)
    return int(query[name])


def _time(query: Mapping[str, str], name: str, default: float) -> float:
    if name not in query:
        return default
    try:
        return milliseconds_of(query[name])
    except ValueError as error:
        raise Invalid(
            name, "must be an RFC 3339 date and time, such as 2026-01-31T12:00:00Z", query[name]
        ) from error
