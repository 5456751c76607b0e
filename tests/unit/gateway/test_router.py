"""Laws of routing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transcoding.router import NoRouteError, Route, RouteConflictError, Router, WrongMethodError
from gateway.transcoding.template import parse


def router_of(*routes: str) -> Router[str]:
    """Routes written as `GET /path`; the target is that text."""
    router: Router[str] = Router()
    for text in routes:
        method, _, template = text.partition(" ")
        router.add(Route(method, parse(template), f"Owner({text})", text))
    return router


def target(router: Router[str], request: str) -> str:
    method, _, path = request.partition(" ")
    return router.match(method, path)[0].target


TABLE = (
    "GET /a/b", "GET /a/*", "GET /a/**", "GET /a/*/c", "POST /a/b", "GET /a/{x}:go", "POST /v/{x}:stop", "GET /v/{x}",
    "GET /", "GET /t/**/tail",
)  # fmt: skip


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET /", "GET /"),
        ("GET /a/b", "GET /a/b"),
        ("POST /a/b", "POST /a/b"),
        ("GET /a/x", "GET /a/*"),
        ("GET /a/b/c", "GET /a/*/c"),
        ("GET /a/b/d", "GET /a/**"),
        ("GET /a", "GET /a/**"),
        ("HEAD /a/b", "GET /a/b"),
        ("GET /a/x:go", "GET /a/{x}:go"),
        ("GET /a/x%3Ago", "GET /a/*"),
        ("GET /a/x:other", "GET /a/*"),
        ("GET /v/x:go", "GET /v/{x}"),
        ("GET /t/tail", "GET /t/**/tail"),
        ("GET /t/1/2/tail", "GET /t/**/tail"),
        ("GET /a/b%2Fc", "GET /a/*"),
    ],
)
def test_the_most_specific_route_wins_on_the_raw_path(request_line: str, expected: str) -> None:
    """Literal before `*` before `**`, whatever the order of registration; encoded separators separate nothing."""
    assert target(router_of(*TABLE), request_line) == expected
    assert target(router_of(*reversed(TABLE)), request_line) == expected


@pytest.mark.parametrize("path", ["/b", "/a/b/", "/v/", "//", "/t", "/t/x", "", "a/b", "/v//x"])
def test_other_paths_have_no_route(path: str) -> None:
    """A trailing slash or an empty segment is another path."""
    with pytest.raises(NoRouteError):
        router_of(*TABLE).match("GET", path)


def test_a_wrong_method_names_the_right_ones() -> None:
    """405 needs Allow; a registered verb never falls through to the resource itself."""
    router = router_of(*TABLE)
    with pytest.raises(WrongMethodError) as caught:
        router.match("DELETE", "/v/x")
    assert caught.value.allow == ["GET", "HEAD"]
    with pytest.raises(WrongMethodError) as caught:
        router.match("GET", "/v/x:stop")
    assert caught.value.allow == ["POST"]


def test_two_routes_of_one_shape_refuse_the_start_and_are_both_named() -> None:
    """Silently preferring one would make a method unreachable."""
    with pytest.raises(RouteConflictError) as caught:
        router_of("GET /a/{x}", "GET /a/{other=*}")
    assert "/a/{x}" in str(caught.value)
    assert "/a/{other=*}" in str(caught.value)


_segment = st.sampled_from(["a", "b", "c", "*"])
_template = st.lists(_segment, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from([parts, [*parts, "**"], ["a", "**", *[p for p in parts if p != "*"]]])
)


def _pattern(template: str) -> str:
    """The same template as a regular expression."""
    pattern = ""
    for segment in template[1:].split("/"):
        pattern += {"*": "/[^/]+", "**": "(?:/[^/]+)*"}.get(segment, "/" + re.escape(segment))
    return pattern


@given(st.lists(_template, min_size=1, max_size=6), st.lists(st.sampled_from("abcx"), min_size=1, max_size=6))
def test_a_path_has_a_route_exactly_when_some_template_matches_it(
    templates: list[list[str]], parts: list[str]
) -> None:
    """The trie's backtracking loses nothing against matching each template alone."""
    texts = sorted({"/" + "/".join(parts) for parts in templates})
    router = router_of(*(f"GET {text}" for text in texts))
    path = "/" + "/".join(parts)
    matching = {f"GET {text}" for text in texts if re.fullmatch(_pattern(text), path)}
    try:
        assert target(router, f"GET {path}") in matching
    except NoRouteError:
        assert not matching
