"""Laws of admission, by a clock that the tests move."""

from typing import cast

import pytest

from gateway.edge import admission as admission_module
from gateway.edge.admission import Admission, Ticket, client_key
from gateway.settings import Limits
from gateway.transcoding.errors import GatewayError


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(made: Admission, address: str) -> GatewayError | None:
    """Let a call in and out again; the refusal, if it is refused."""
    try:
        made.enter(address).leave()
    except GatewayError as error:
        return error
    return None


def test_a_bucket_fills_with_time_and_never_over() -> None:
    """In the long run a client has its rate, and after a pause its burst."""
    clock = Clock()
    made = Admission(Limits(requests_per_second=2, requests_burst=4), clock)

    def taken() -> int:
        return sum(refusal(made, "192.0.2.1") is None for _ in range(10))

    assert taken() == 4
    error = refusal(made, "192.0.2.1")
    assert error is not None
    assert (error.reason, error.retry_after_seconds) == ("RATE_LIMITED", 0.5)
    clock.now += error.retry_after_seconds
    assert taken() == 1
    clock.now += 1.5
    assert taken() == 3
    clock.now += 1e6
    assert taken() == 4


def test_a_rate_of_zero_is_no_bound() -> None:
    """Who has a limiter in front needs none here."""
    made = Admission(Limits(requests_per_second=0, requests_burst=1))
    assert [refusal(made, "192.0.2.1") for _ in range(100)] == [None] * 100


def test_what_is_known_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses must not fill the memory; who has calls under way is not forgotten."""
    monkeypatch.setattr(admission_module, "MAX_CLIENTS", 10)
    made = Admission(Limits(requests_per_second=0.01, requests_burst=1), Clock())
    busy = made.enter("192.0.2.1")
    for number in range(50):
        refusal(made, f"198.51.100.{number}")
    assert made.known == 10
    busy.leave()
    assert cast(GatewayError, refusal(made, "192.0.2.1")).reason == "RATE_LIMITED"
    assert refusal(made, "198.51.100.0") is None  # forgotten: a full bucket
    assert made.known == 10


def test_a_call_that_may_not_become_a_stream_still_counts_as_a_call() -> None:
    """Places are given back once, whichever way a call ends."""
    made = Admission(Limits(max_streams=1, max_in_flight=2))
    tickets = [made.enter("192.0.2.1") for _ in range(2)]
    tickets[0].becomes_stream()
    tickets[0].becomes_stream()
    with pytest.raises(GatewayError, match="streams"):
        tickets[1].becomes_stream()
    others: list[Ticket] = [made.enter("192.0.2.2")]
    assert cast(GatewayError, refusal(made, "192.0.2.3")).http_status == 503
    for ticket in (*tickets, *others):
        ticket.leave()
    made.enter("192.0.2.1").becomes_stream()


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("127.0.0.1", ""), ("127.9.9.9", ""), ("::1", ""), ("::ffff:127.0.0.1", ""), ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64"), ("2001:db8:0:1::", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"), ("", "unknown"),
    ],
)  # fmt: skip
def test_a_client_is_an_address_or_a_network(address: str, key: str) -> None:
    """The two ways to write an IPv4 address are one; what is no address is somebody, and not loopback."""
    assert client_key(address) == key
