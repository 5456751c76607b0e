"""Our signatures are those of oauthlib, which the sandbox verifies with too."""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from oauthlib.oauth1 import Client

from mesh.secret import Secret
from services.bot_manager.x.signing import authorization

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
KEYS = st.tuples(TEXT, TEXT, TEXT, TEXT)
NOW = 1_780_000_000


@given(
    KEYS,
    st.lists(st.tuples(TEXT, st.text("aä&=+ %/~", max_size=10)), max_size=4),
    st.sampled_from(["GET", "POST"]),
)
def test_a_signature_is_the_one_that_oauthlib_makes(
    keys: tuple[str, str, str, str], query: list[tuple[str, str]], method: str
) -> None:
    """Whatever the keys and the query hold: X refuses what is off by one character."""
    consumer_key, consumer_secret, token, token_secret = keys
    asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    url = "https://api.x.com/2/tweets" + (f"?{asked}" if asked else "")
    theirs = Client(*keys, nonce="abc", timestamp=str(NOW)).sign(url, method)[1]["Authorization"]
    ours = authorization(
        method,
        url,
        consumer_key=Secret(consumer_key),
        consumer_secret=Secret(consumer_secret),
        token=Secret(token),
        token_secret=Secret(token_secret),
        now=NOW + 0.9,
        nonce="abc",
    )
    assert _members(ours) == _members(theirs)


def test_each_request_has_a_nonce_of_its_own() -> None:
    """X refuses one that it has seen."""
    key = Secret("k")
    made = {
        authorization(
            "POST",
            "https://api.x.com/2/tweets",
            consumer_key=key,
            consumer_secret=key,
            token=key,
            token_secret=key,
            now=NOW,
        )
        for _ in range(100)
    }
    assert len(made) == 100


def _members(header: str) -> set[str]:
    return set(header.removeprefix("OAuth ").split(", "))
