"""Laws of bodies that are streams of values."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.items import LINES, at_item, values_of
from gateway.transcoding.errors import GatewayError, invalid, malformed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\[]{},a\n'),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text('"\\]},a'), below, max_size=3),
    max_leaves=8,
)


async def cut(
    body: bytes, content_type: str = "", sizes: tuple[int, ...] = (1,), limit: int = 1000
) -> list[bytes]:
    """The values of a body that comes in pieces of these sizes, again and again."""

    async def pieces() -> AsyncIterator[bytes]:
        start = index = 0
        while start < len(body):
            size = sizes[index % len(sizes)]
            yield body[start : start + size]
            start, index = start + size, index + 1

    return [value async for value in values_of(pieces(), content_type, limit)]


@given(
    st.lists(JSON, max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from([None, 1]),
)
async def test_an_array_is_cut_into_its_elements(
    values: list[Any], sizes: list[int], indent: int | None
) -> None:
    """For any values and any pieces: what is cut out parses to what was put in."""
    body = f" {json.dumps(values, indent=indent)}\r\n".encode()
    assert [json.loads(one) for one in await cut(body, sizes=tuple(sizes), limit=10_000)] == values


@settings(max_examples=50, deadline=None)
@given(st.lists(JSON, max_size=5), st.lists(st.integers(1, 9), min_size=1, max_size=4))
async def test_lines_are_cut_at_their_ends(values: list[Any], sizes: list[int]) -> None:
    """Lists among them, where the type says that it is lines."""
    body = "".join(json.dumps(value) + "\r\n" for value in values).encode()
    assert [json.loads(one) for one in await cut(body, LINES, tuple(sizes), limit=10_000)] == values


@pytest.mark.parametrize(("opening", "closing"), [(b"", b""), (b"[", b"]")])
async def test_a_value_is_as_large_as_a_body_may_be_and_no_larger(opening: bytes, closing: bytes) -> None:
    """What is held has a bound also where the value has no end."""
    assert await cut(opening + b"1" * 10 + closing, limit=10) == [b"1" * 10]
    for sizes in ((1,), (1000,)):
        with pytest.raises(GatewayError) as caught:
            await cut(opening + b"1" * 11, sizes=sizes, limit=10)
        assert caught.value.reason == "MESSAGE_TOO_LARGE"


def test_an_error_is_told_with_its_place() -> None:
    """A client finds the value among thousands."""
    error = at_item(invalid("thing.id", "expected a string"), 3)
    assert (error.message, error.violations[0].field) == ("[3].thing.id: expected a string", "[3].thing.id")
    error = at_item(malformed("expected a JSON object"), 0)
    assert (error.message, error.violations[0].field) == ("[0]: expected a JSON object", "[0]")
    assert at_item(invalid("(body)", "wrong"), 1).violations[0].field == "[1]"
