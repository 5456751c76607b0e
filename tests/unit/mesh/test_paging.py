"""Page tokens: opaque, authentic, bound to their list and filter."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from mesh.paging import MAX_TOKEN_CHARS, PageTokens, Scalar, page_size

SECRET = b"0123456789abcdef"
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=40)
POSITIONS = st.lists(SCALARS, max_size=4).map(tuple)
FILTERS = st.dictionaries(st.text(max_size=8), SCALARS, max_size=3)


@pytest.fixture
def tokens() -> PageTokens:
    return PageTokens(SECRET, "bot_manager.posts")


def refused(tokens: PageTokens, token: str, filters: dict[str, object]) -> bool:
    """Whether the token is refused, and refused rightly."""
    try:
        tokens.decode(token, filters)
    except InvalidArgument as error:
        return (error.reason, error.violations[0].field) == ("INVALID_PAGE_TOKEN", "page_token")
    return False


@given(POSITIONS, FILTERS)
def test_every_replica_reads_what_another_wrote(
    position: tuple[Scalar, ...], filters: dict[str, object]
) -> None:
    """The next page may be asked of any of them, in a URL and without escaping."""
    token = PageTokens(SECRET, "list").encode(position, filters)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")
    again = PageTokens(SECRET, "list").decode(token, dict(reversed(filters.items())))
    assert again == position
    assert [type(value) for value in again] == [type(value) for value in position]


@given(st.text(max_size=200))
def test_made_up_tokens_are_refused(token: str) -> None:
    """Nobody chooses where a query begins."""
    tokens = PageTokens(SECRET, "list")
    assert refused(tokens, token, {}) or token == ""


@given(st.data())
def test_any_change_of_a_token_is_refused(data: st.DataObject) -> None:
    """One spelling per token: no padding, no spare bits, no other alphabet."""
    tokens = PageTokens(SECRET, "list")
    token = tokens.encode(("2026-01-01T00:00:00Z", "0193c9a1"), {"state": "DRAFT"})
    index = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_+/= \n"))
    changed = token[:index] + letter + token[index + 1 :]
    assert changed == token or refused(tokens, changed, {"state": "DRAFT"})


def test_padding_and_appendices_are_refused(tokens: PageTokens) -> None:
    """What other decoders forgive."""
    token = tokens.encode((1,), {})
    for changed in (token + "=", token + "\n", " " + token, token + "A", token[:-1], token + "ü"):
        assert refused(tokens, changed, {})


def test_a_token_of_another_list_filter_or_deployment_is_refused(tokens: PageTokens) -> None:
    """Changing the filter in the middle would skip rows silently."""
    token = tokens.encode((1, "a"), {"state": "DRAFT"})
    assert tokens.decode(token, {"state": "DRAFT"}) == (1, "a")
    assert refused(tokens, token, {"state": "SCHEDULED"})
    assert refused(tokens, token, {})
    assert refused(PageTokens(SECRET, "bot_manager.bots"), token, {"state": "DRAFT"})
    assert refused(PageTokens(b"another secret of sixteen", "bot_manager.posts"), token, {"state": "DRAFT"})


def test_filter_and_position_cannot_trade_bytes(tokens: PageTokens) -> None:
    """The MAC covers a digest of fixed length, so no two pairs run together."""
    payload = base64.urlsafe_b64decode(tokens.encode(("x",), {}) + "==")[16:]
    forged = base64.urlsafe_b64encode(bytes(16) + payload).rstrip(b"=").decode()
    assert refused(tokens, forged, {})


def test_the_empty_token_is_the_first_page(tokens: PageTokens) -> None:
    """Proto3 cannot tell an absent string from an empty one."""
    assert tokens.decode("", {"any": 1}) is None


def test_mistakes_of_ours_are_found_at_once(tokens: PageTokens) -> None:
    """A guessable key, a position that does not survive JSON, a token too long for a URL."""
    with pytest.raises(ValueError, match="16 bytes"):
        PageTokens(b"short", "list")
    with pytest.raises(TypeError):
        tokens.encode((1.5,), {})  # type: ignore[arg-type]  # the mistake is the subject
    with pytest.raises(ValueError, match="too large"):
        tokens.encode(("x" * MAX_TOKEN_CHARS,), {})
    assert refused(tokens, "A" * (MAX_TOKEN_CHARS + 1), {})


@pytest.mark.parametrize(("requested", "given"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_page_size_is_clamped(requested: int, given: int) -> None:
    """AIP-158: zero is our choice, too much is not an error."""
    assert page_size(requested) == given


def test_a_negative_page_size_names_its_field() -> None:
    """AIP-158 asks for INVALID_ARGUMENT."""
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1)
    assert caught.value.violations[0].field == "page_size"
    assert page_size(0, default=10, maximum=5) == 5
