"""Users as the rules see them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mesh.errors import Aborted
from services.authentication.domain.accounts import UserChange
from services.authentication.domain.user import User, UserState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANN = User("u1", "ann", "Ann", "", ("admin",), UserState.ACTIVE, False, 1, NOW, NOW)


def test_a_one_time_password_gives_a_token_without_roles() -> None:
    """Until it is changed, whoever saw it on a screen can do nothing with it but change it."""
    assert ANN.token_roles == ("admin",)
    assert replace(ANN, password_change_required=True).token_roles == ()


def test_a_stale_etag_is_refused_and_none_is_not() -> None:
    """Optimistic concurrency is the caller's choice."""
    ANN.check_etag("")
    ANN.check_etag(ANN.etag)
    with pytest.raises(Aborted):
        replace(ANN, version=2).check_etag(ANN.etag)


def test_each_version_has_its_own_etag() -> None:
    """Base 36, not cut off."""
    etags = {replace(ANN, version=version).etag for version in range(1, 2000)}
    assert len(etags) == 1999


def test_a_change_touches_only_what_it_names() -> None:
    """An update mask that leaked would give roles away."""
    assert UserChange().apply(ANN) == ANN
    changed = UserChange(display_name="", roles=("viewer", "auditor")).apply(ANN)
    assert changed == replace(ANN, display_name="", roles=("auditor", "viewer"))


def test_only_an_active_user_with_the_role_is_an_administrator() -> None:
    """The last one of these must stay."""
    assert ANN.is_active_admin
    assert not replace(ANN, state=UserState.DISABLED).is_active_admin
    assert not replace(ANN, roles=("operator",)).is_active_admin
