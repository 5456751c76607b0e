"""What is typed after `vivesphere logs …`, as the API is asked for it."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.logs_filter import moment

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("30s", NOW - timedelta(seconds=30)),
        ("15m", NOW - timedelta(minutes=15)),
        (" 2h ", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-01-30T10:00Z", datetime(2026, 1, 30, 10, tzinfo=UTC)),
        ("2026-01-30 12:00:00.5+02:00", datetime(2026, 1, 30, 10, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times_are_ages_or_iso_8601(typed: str, meant: datetime) -> None:
    """Ages for people in a hurry, times for those who compare."""
    assert moment(typed, NOW, "--since") == meant


def test_a_time_without_a_zone_is_of_this_machine() -> None:
    """As `date` would show it."""
    assert moment("2026-01-30 12:00", NOW, "--since") == datetime(2026, 1, 30, 12).astimezone(UTC)


@pytest.mark.parametrize("typed", ["", "yesterday", "5y", "h", "-2h", "99999999999w", "2026-13-01", "1.5h"])
def test_what_is_no_time_is_wrong_usage(typed: str) -> None:
    """Guessing would search somewhere else than was meant."""
    with pytest.raises(typer.BadParameter, match="neither a time"):
        moment(typed, NOW, "--since")
