"""Lists: filter, order and page token of a request as a `Query`, and the token of the page after.

A token holds the value and id of the last row; it is bound to the list, filter and order (`mesh.paging`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from mesh.paging import PageTokens, page_size
from services.bot_manager.domain.filters import Field, parse_filter
from services.bot_manager.domain.listing import Condition, Page, Position, Query


class ListRequest(Protocol):
    """What every request of a list has."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...
    @property
    def filter(self) -> str: ...
    @property
    def order_by(self) -> str: ...


class Pages:
    """The pages of one list. `fields` are those of its filter; `texts` are orders whose values are text, the others are times."""

    def __init__(
        self, secret: bytes, name: str, fields: Mapping[str, Field], texts: frozenset[str] = frozenset()
    ) -> None:
        self._tokens = PageTokens(secret, name)
        self._fields = fields
        self._texts = texts

    def query(self, request: ListRequest, *always: Condition) -> Query:
        """Raises InvalidArgument: INVALID_FILTER, INVALID_PAGE_TOKEN, INVALID_FIELD."""
        order, _, direction = (request.order_by or "create_time desc").partition(" ")
        position = self._tokens.decode(request.page_token, self._bound_to(request, always))
        return Query(
            conditions=(*always, *parse_filter(request.filter, self._fields)),
            order=order,
            descending=direction == "desc",
            limit=page_size(request.page_size),
            after=None if position is None else self._position(order, position[0], str(position[1])),
        )

    def token(self, request: ListRequest, page: Page[Any], *always: Condition) -> str:
        """Empty on the last page."""
        if page.next is None:
            return ""
        value = page.next.value
        text = value.isoformat() if isinstance(value, datetime) else value
        return self._tokens.encode((text, page.next.id), self._bound_to(request, always))

    def _position(self, order: str, value: object, identity: str) -> Position:
        if value is None or order in self._texts:
            return Position(None if value is None else str(value), identity)
        return Position(datetime.fromisoformat(str(value)), identity)

    def _bound_to(self, request: ListRequest, always: tuple[Condition, ...]) -> dict[str, object]:
        fixed = [[one.field, one.operator.value, str(one.value)] for one in always]
        return {"filter": request.filter, "order": request.order_by, "always": fixed}
