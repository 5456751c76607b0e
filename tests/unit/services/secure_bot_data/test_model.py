"""What a secret may be called, and what the words of the service do not show."""

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.vault.paths import segment
from services.secure_bot_data.domain import model
from services.secure_bot_data.domain.model import (
    Description,
    Draft,
    OpenedVersion,
    SealedVersion,
    SecretKind,
    SecretRef,
)
from tests.unit.services.secure_bot_data.conftest import CALLER, VALUE, Rules, draft

DESCRIPTION = Description(SecretKind.GENERIC, ("value",), datetime(2026, 1, 1, tzinfo=UTC), "ana", new_id())


@given(st.text(min_size=1, max_size=70) | st.from_regex(r"[a-z0-9_-]{1,70}", fullmatch=True))
def test_a_name_is_one_the_vaults_paths_allow_or_none(name: str) -> None:
    """Two lists of what is allowed must not drift apart."""
    try:
        segment(name)
    except InvalidArgument:
        with pytest.raises(InvalidArgument) as caught:
            SecretRef(new_id(), name)
        assert [violation.field for violation in caught.value.violations] == ["name"]
    else:
        assert SecretRef(new_id(), name).name == name


@pytest.mark.parametrize(
    "bot_id", ["", "..", "a", new_id().upper(), new_id()[:-1], f"{new_id()}/..", f"{new_id()}\n"]
)
def test_a_bot_is_a_uuid_in_lower_case(bot_id: str) -> None:
    """It is the folder of the bot's secrets and derives their key."""
    with pytest.raises(InvalidArgument) as caught:
        SecretRef(bot_id, "token")
    assert [violation.field for violation in caught.value.violations] == ["bot_id"]


async def test_nothing_is_written_for_a_bot_as_a_whole(rules: Rules) -> None:
    """A reference without a name is good for lists and leases only."""
    with pytest.raises(InvalidArgument) as caught:
        await rules.writer.put(SecretRef(new_id(), ""), draft(), None, CALLER)
    assert [violation.field for violation in caught.value.violations] == ["name"]
    assert rules.catalogue.markers == {}


def test_what_carries_values_does_not_show_them() -> None:
    """Whatever is printed, logged or raised with one of these."""
    fields = {"value": Secret(VALUE)}
    for carrier in (
        draft(),
        OpenedVersion(1, DESCRIPTION, fields),
        SealedVersion(1, DESCRIPTION, "vault:v1:x"),
    ):
        assert VALUE not in repr(carrier)
        assert "vault:v1:" not in repr(carrier)
        assert VALUE not in str(dataclasses.asdict(carrier))


def test_only_these_carry_values() -> None:
    """A class that gets a field of secrets has to be looked at here."""
    classes = [found for found in vars(model).values() if dataclasses.is_dataclass(found)]
    carrying = [
        found for found in classes if any("Secret]" in str(f.type) for f in dataclasses.fields(found))
    ]
    assert carrying == [Draft, OpenedVersion]
    shown = [
        f.name for found in carrying for f in dataclasses.fields(found) if f.repr and "Secret]" in str(f.type)
    ]
    assert shown == []
