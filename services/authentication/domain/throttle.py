"""How failed sign-ins slow down the next ones.

An attempt is counted before its password is looked at and taken back when it was right, so that guesses made side by side count
too. Where it is counted are its lanes; it has to wait for the slowest of them, and then counts in none:

    from a known device    one lane: (account, device). Whatever strangers do, the owner's own devices are not delayed.
    from anywhere else     three lanes: the account; the address; and the pair of both.

The first failures of a lane are free, then each doubles the pause up to a bound: slowed down, never locked. A count is forgotten a day
after its last failure. An address is an IPv4 address or an IPv6 /64, which is what one customer gets; what is no address shares one lane.

- The **pair** bounds what one address can guess at one account, the **address** what it can guess at all accounts together, and the
  **account** what everybody together can guess at it.
- One address alone cannot slow an account down for others: only the first failures of a pair (`Rules.share`) count against the
  account, until those of several addresses have used up what the account has free. From then on every attempt does.
- The account's count is remembered for as long as any of its pairs', so that addresses that no longer count against it stay few.
- A right password forgets the account's count with all its pairs, but of the address takes back only its own: whoever has an account
  here cannot buy new guesses at those of others by signing in between.
- A right password from a known device forgets the device's count and nothing else.

Pure arithmetic; the store keeps the numbers, shared by all replicas. A lane's key is a hash, because people type passwords into the
field for the name; names that nobody has get lanes as well, so that they behave alike.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

FORGET_AFTER: Final = timedelta(hours=24)
CUSTOMER_BITS: Final = 64
"""Of an IPv6 address: the network that one customer has for itself (RFC 6177 gives a /64 at least)."""

# Lanes of one account lie together, and all transactions lock lanes in ascending order of their keys.
_ACCOUNT, _DEVICE, _ADDRESS = b"\x01", b"\x02", b"\x03"


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """The numbers in force for one kind of lane."""

    free_attempts: int
    """Failures in a row before the first pause."""
    longest_pause: timedelta
    first_pause: timedelta = timedelta(seconds=1)

    def pause(self, failures: int) -> timedelta:
        """How long to wait after that many failures in a row."""
        over = failures - self.free_attempts
        if over <= 0:
            return timedelta()
        return min(self.longest_pause, self.first_pause * (1 << min(over - 1, 30)))


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers in force. With these defaults a day lets in at most 110 guesses from one address at one account, 396 from one address
    at all accounts together, and 516 from everywhere at one account; there the last 210 are of the two addresses at most that have
    stopped to count against the account before it was slowed down. The tests prove it."""

    account: ThrottleRule = ThrottleRule(10, timedelta(minutes=5))
    address: ThrottleRule = ThrottleRule(100, timedelta(minutes=5))
    """More are free than there are places to hash: many who sign in at once behind one address do not delay each other."""
    pair: ThrottleRule = ThrottleRule(5, timedelta(minutes=15))
    """Also for a known device."""

    @property
    def share(self) -> int:
        """How many failures of one address count against an account: at most half of what the account has free, so that the owner
        finds the other half."""
        return max(1, min(self.pair.free_attempts, self.account.free_attempts // 2))


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of one lane: failures in a row, the last one's time, and when the next attempt may come."""

    failures: int
    last_time: datetime
    next_time: datetime

    def forgotten(self, now: datetime) -> bool:
        """Whether the last failure is too long ago to count."""
        return now - self.last_time > FORGET_AFTER

    def one_more(self, rule: ThrottleRule, now: datetime) -> "Attempts":
        """After one more failure at `now`."""
        failures = 1 if self.forgotten(now) else self.failures + 1
        return Attempts(failures, now, now + rule.pause(failures))


Counts = Mapping[bytes, Attempts]
"""By lane. A lane without failures may be missing, or be there with none."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where one attempt is counted: `device` alone, or the other three. Keys of lanes."""

    account: bytes = b""
    address: bytes = b""
    pair: bytes = b""
    device: bytes = b""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """In the order in which they are locked."""
        return tuple(sorted(key for key in (self.account, self.address, self.pair, self.device) if key))

    def counted(self, before: Counts, rules: Rules, now: datetime) -> dict[bytes, Attempts]:
        """The lanes after one more attempt that none of them delays."""
        nothing = Attempts(0, now, now)
        if self.device:
            return {self.device: before.get(self.device, nothing).one_more(rules.pair, now)}
        pair = before.get(self.pair, nothing).one_more(rules.pair, now)
        account = before.get(self.account, nothing)
        if account.forgotten(now):
            account = nothing
        if pair.failures <= rules.share or account.failures > rules.account.free_attempts:
            account = account.one_more(rules.account, now)
        else:
            account = replace(account, last_time=now)
        address = before.get(self.address, nothing).one_more(rules.address, now)
        return {self.account: account, self.address: address, self.pair: pair}


def wait(counts: Counts, now: datetime) -> timedelta:
    """How long the slowest of the lanes makes an attempt wait; nothing if none does.

    A lane without a pause delays nobody, also if its last attempt was counted a moment after this one looked at the clock.
    """
    pausing = (attempts for attempts in counts.values() if attempts.next_time > attempts.last_time)
    return max((timedelta(), *(attempts.next_time - now for attempts in pausing)))


def taken_back(
    lane: Attempts, before: Attempts | None, counted: Attempts, rule: ThrottleRule
) -> Attempts | None:
    """The lane without one attempt that was counted in it, and nothing else; None if nothing is left of it."""
    if lane == counted:
        return before if before is not None and before.failures else None
    failures = lane.failures - 1
    if failures <= 0:
        return None
    return Attempts(failures, lane.last_time, min(lane.next_time, lane.last_time + rule.pause(failures)))


def stranger_lanes(normal_name: str, address: str) -> Lanes:
    """The lanes of an attempt from a device that the account does not know."""
    account, source = account_lane(normal_name), prefix(address)
    return Lanes(account=account, address=_ADDRESS + _digest(source), pair=account + _digest(source)[:16])


def device_lanes(normal_name: str, device: bytes) -> Lanes:
    """The lane of an attempt from one of the account's own devices, or from within a session of its own."""
    return Lanes(device=devices_of(normal_name) + _digest(device)[:16])


def account_lane(normal_name: str) -> bytes:
    """Key of the account's lane; those of its pairs begin with it."""
    return _ACCOUNT + _digest(normal_name.encode("utf-8", "surrogatepass"))


def devices_of(normal_name: str) -> bytes:
    """What the keys of the account's devices begin with."""
    return _DEVICE + _digest(normal_name.encode("utf-8", "surrogatepass"))


def prefix(address: str) -> bytes:
    """What stands for one customer: an IPv4 address, also one that is written as IPv6, or the first half of an IPv6 address.
    Everything that is no address is the same."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return b""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed.packed[: CUSTOMER_BITS // 8]
        parsed = parsed.ipv4_mapped
    return parsed.packed


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
