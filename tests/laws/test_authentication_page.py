"""What docs/authentication.md says in tables is what the code says."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.configuration import SettingDefinition
from services.authentication.domain import devices, factor, server_secret, signing
from services.authentication.domain.session import Lifetimes
from services.authentication.domain.sessions import GRACE
from services.authentication.domain.throttle import Rules, ThrottleRule
from services.authentication.settings import DEFINITIONS
from tests.laws.test_contract_secrets import secret_fields

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "authentication.md").read_text(encoding="utf-8")
DAY = timedelta(days=1)


def table(header: str) -> Iterator[list[str]]:
    """The rows of the one table that begins with this header."""
    assert PAGE.count(f"\n{header}\n") == 1, header
    lines = PAGE.split(f"\n{header}\n")[1].splitlines()[1:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else "none" if value == [] else repr(value)


def bounds(definition: SettingDefinition[Any]) -> str:
    schema = definition.json_schema
    if "minimum" in schema:
        return f"{schema['minimum']:,} – {schema['maximum']:,}"
    return f"up to {schema['maxItems']} words" if schema["type"] == "array" else ""


def test_the_table_of_settings_is_that_of_the_code() -> None:
    """Whoever tunes a mesh believes the page: every setting, its default with its unit, and what it may be."""
    told = {key.strip("`"): (default, span) for key, default, span, _ in table(SETTINGS)}
    assert told == {
        each.key: (f"{shown(each.default)} {each.unit or ''}".strip(), bounds(each)) for each in DEFINITIONS
    }


SETTINGS = "| key | default | from – to | what it is |"


def guesses_in_a_day(rule: ThrottleRule) -> int:
    """Attempts that one lane lets in on its first day, each made as soon as it may be."""
    failures, now = 0, timedelta()
    while now < DAY:
        failures += 1
        now += rule.pause(failures)
    return failures


def test_the_bounds_are_those_that_the_rules_give() -> None:
    """The three lanes with what they let in, by arithmetic; the tests of the throttle try to break the same numbers."""
    rules = Rules()
    rows = list(table("| lane | free | longest pause | guesses a day at most |"))
    assert [row[1:3] for row in rows] == [
        [str(rule.free_attempts), f"{rule.longest_pause.total_seconds():.0f} s"]
        for rule in (rules.pair, rules.address, rules.account)
    ]
    pair, address, account = map(guesses_in_a_day, (rules.pair, rules.address, rules.account))
    stopped = 2 * (pair - rules.share)
    assert [row[3].split(" ")[0].rstrip(";") for row in rows] == [str(pair), str(address), str(account)]
    assert f"; {account + stopped} with the two" in rows[2][3]


def test_the_ends_of_a_session_are_those_of_the_code() -> None:
    """ASVS 7.1.1 and 7.1.2: the numbers that are given reasons are the numbers in force."""
    lifetimes = Lifetimes()
    assert [row[1] for row in table("| what | default | why |")] == [
        f"{lifetimes.access_token // timedelta(minutes=1)} min",
        f"{lifetimes.idle // DAY} days",
        f"{lifetimes.session // DAY} days",
        str(lifetimes.max_per_user),
        f"{GRACE.total_seconds():.0f} s",
    ]


def test_every_secret_that_a_caller_sends_is_in_the_table_of_ways() -> None:
    """ASVS 6.1.3 and 6.3.4: a field that takes a secret is a way to authenticate, or it is said that it is none."""
    section = PAGE.split("## Ways to authenticate")[1].split("\n# ")[0]
    told = re.findall(r"`([A-Z]\w+\.[a-z_]+)`", section)
    assert set(told) == {
        f"{message.removesuffix('Request')}.{field}"
        for message, field in secret_fields("authentication")
        if message.endswith("Request")
    }


def test_every_sealed_thing_is_in_the_table_of_keys() -> None:
    """What is sealed by the vault is a key, and a key that nobody knows of is never replaced."""
    bindings = [signing.binding("x"), factor.binding("x"), server_secret._BINDING]
    told = " ".join(
        " ".join(row) for row in table("| key | where it is | replaced by | if somebody else has it |")
    )
    for binding in bindings:
        assert f"`{binding.decode().partition(':')[0]}`" in told
    assert "device token" in devices._PURPOSE.decode()
