"""A trie over path templates: literal before `*` before `**`, with backtracking.

Routing works on the raw path: a `%2F` never separates segments and a `%3A` never starts a verb. A verb counts only where a
route has registered it, and only behind a raw `:`; everywhere else a colon is an ordinary character. An empty segment
matches no literal and no `*`, so a trailing slash is a different path. Two routes of the same shape refuse the start.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.transcoding.template import REST, STAR, Template

T = TypeVar("T")

ANY_METHOD = "*"  # `custom { kind: "*" }`


class RouteConflictError(ValueError):
    """Two routes would answer the same requests; the message names both."""


class NoRouteError(LookupError):
    """No template matches the path."""


class WrongMethodError(LookupError):
    """A template matches, but not with this HTTP method; `allow` lists those that would do."""

    def __init__(self, allow: list[str]) -> None:
        super().__init__(", ".join(allow))
        self.allow = allow


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """One registered template; `owner` is what conflict messages call it."""

    http_method: str
    template: Template
    owner: str
    target: T


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: "dict[str, _Node[T]]" = field(default_factory=dict)
    star: "_Node[T] | None" = None
    rest: "_Node[T] | None" = None
    leaves: dict[str, dict[str, Route[T]]] = field(default_factory=dict)  # verb → HTTP method → route


class Router(Generic[T]):
    """Add every route at the start, then match; matching never changes the trie."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, route: Route[T]) -> None:
        """Register a route; raises RouteConflictError when one of the same shape and method exists."""
        node = self._root
        for segment in route.template.segments:
            node = _descend(node, segment)
        methods = node.leaves.setdefault(route.template.verb, {})
        other = methods.setdefault(route.http_method, route)
        if other is not route:
            raise RouteConflictError(
                f"{route.http_method} {route.template.text} of {route.owner} and "
                f"{other.http_method} {other.template.text} of {other.owner} match the same requests"
            )

    def match(self, http_method: str, path: str) -> tuple[Route[T], list[str]]:
        """Return the route and the raw segments, the verb taken off.

        Raises NoRouteError, or WrongMethodError when only the method is wrong. HEAD finds the GET route.
        """
        if not path.startswith("/"):
            raise NoRouteError(path)
        segments = path[1:].split("/") if path != "/" else []
        if ":" not in path:
            found = _quickly(self._root, segments, http_method)
            if found is not None:
                return found, segments
        search = _Search[T](http_method)
        last, colon, verb = segments[-1].rpartition(":") if segments else ("", "", "")
        if colon and verb:
            head = [*segments[:-1], last] if last or len(segments) > 1 else []
            route = search.find(self._root, head, 0, verb)
            if route is not None:
                return route, head
        if not search.allow:
            route = search.find(self._root, segments, 0, "")
            if route is not None:
                return route, segments
        if search.allow:
            raise WrongMethodError(sorted(search.allow))
        raise NoRouteError(path)


def _descend(node: _Node[T], segment: str) -> _Node[T]:
    """The child of a node for a template segment, made when it does not exist."""
    if segment == STAR:
        node.star = node.star or _Node()
        return node.star
    if segment == REST:
        node.rest = node.rest or _Node()
        return node.rest
    return node.literals.setdefault(segment, _Node())


def _quickly(node: _Node[T], segments: list[str], http_method: str) -> Route[T] | None:
    """The route of a path without verb and `**`, with just this HTTP method: what nearly all requests ask for.

    None where there is any doubt; the search below knows all rules.
    """
    for segment in segments:
        child = node.literals.get(segment)
        if child is None:
            child = node.star if segment else None
            if child is None:
                return None
        node = child
    methods = node.leaves.get("")
    return None if methods is None else methods.get(http_method)


class _Search(Generic[T]):
    """One search; `allow` collects the methods of templates that match with another HTTP method."""

    __slots__ = ("_method", "allow")

    def __init__(self, method: str) -> None:
        self._method = method
        self.allow: set[str] = set()

    def find(self, node: _Node[T], segments: list[str], at: int, verb: str) -> Route[T] | None:
        if at == len(segments):
            found = self._leaf(node, verb)
            if found is None and node.rest is not None:
                found = self._leaf(node.rest, verb)
            return found
        segment = segments[at]
        if segment:
            child = node.literals.get(segment)
            if child is not None and (found := self.find(child, segments, at + 1, verb)) is not None:
                return found
            if node.star is not None and (found := self.find(node.star, segments, at + 1, verb)) is not None:
                return found
        return None if node.rest is None else self._find_rest(node.rest, segments, at, verb)

    def _find_rest(self, node: _Node[T], segments: list[str], at: int, verb: str) -> Route[T] | None:
        """`**` took any number of segments from `at` on; literals may follow."""
        if node.literals:
            for start in range(at, len(segments)):
                child = node.literals.get(segments[start])
                if child is not None and (found := self.find(child, segments, start + 1, verb)) is not None:
                    return found
        return self._leaf(node, verb) if segments[-1] else None

    def _leaf(self, node: _Node[T], verb: str) -> Route[T] | None:
        methods = node.leaves.get(verb)
        if methods is None:
            return None
        route = methods.get(self._method)
        if route is None and self._method == "HEAD":
            route = methods.get("GET")
        route = route or methods.get(ANY_METHOD)
        if route is None:
            self.allow.update(methods)
            if "GET" in methods:
                self.allow.add("HEAD")
        return route
