"""Who is within a share. Server and every instance have to agree, so the formula is held to vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.configuration.staged import within_share

CHANGE = "0190c6a1-0000-7000-8000-0000000000cc"
# sha256("<change>/<instance>"), first 8 bytes as a big-endian number, modulo 100; computed with sha256sum and bc.
PLACES = {
    "bot_manager-host-9000": 63,
    "bot_manager-host-9001": 50,
    "logging-pod-7f9c-9000": 87,
    "authentication-a-9000": 17,
    "x": 73,
}


@pytest.mark.parametrize(("instance", "place"), PLACES.items())
def test_an_instance_is_within_exactly_the_shares_above_its_place(instance: str, place: int) -> None:
    """The boundary is where two implementations would differ."""
    within = [share for share in range(101) if within_share(CHANGE, instance, share)]
    assert within == list(range(place + 1, 101))


@given(st.uuids(), st.text(min_size=1, max_size=40), st.integers(0, 99), st.integers(0, 99))
def test_a_larger_share_keeps_whoever_was_within_a_smaller_one(
    change: object, instance: str, one: int, other: int
) -> None:
    """Nobody goes back to the old value because the roll-out goes on."""
    small, large = sorted((one, other))
    assert not within_share(str(change), instance, 0)
    assert within_share(str(change), instance, 100)
    assert within_share(str(change), instance, large) or not within_share(str(change), instance, small)


def test_a_share_is_about_that_share_of_instances() -> None:
    """Ten percent of a fleet, not of an alphabet."""
    within = sum(within_share(CHANGE, f"bot_manager-host-{number}", 10) for number in range(5_000))
    assert 400 < within < 600
