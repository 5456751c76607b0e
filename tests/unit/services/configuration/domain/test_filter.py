"""The filter of ListSettings."""

import pytest

from mesh.errors import InvalidArgument
from services.configuration.domain.filter import SettingFilter, parse_filter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", SettingFilter()),
        ("  ", SettingFilter()),
        ('key = "a.b"', SettingFilter(key="a.b")),
        ('key="bot_manager.*" AND modified = true', SettingFilter(key_prefix="bot_manager.", modified=True)),
        ("definition.owner = logging AND modified=false", SettingFilter(owner="logging", modified=False)),
    ],
)
def test_what_is_understood(text: str, expected: SettingFilter) -> None:
    """The forms that the contract names."""
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "key",
        "key = ",
        'key = ""',
        "modified = yes",
        'colour = "red"',
        'key = "a" OR key = "b"',
        'key = "a" AND',
        'key = "a*b"',
        "modified = true AND modified = false",
        'key = "a" modified = true',
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    """A filter that is partly ignored would show settings that were not asked for."""
    with pytest.raises(InvalidArgument) as refused:
        parse_filter(text)
    assert refused.value.reason == "INVALID_FILTER"
