"""Requests are held against their contracts, and what is wrong is told by its place."""

import pytest

from mesh.errors import InvalidArgument
from mesh.interceptors.stages import validate
from vivesphere.configuration.v1 import settings_service_pb2, watch_service_pb2


def test_a_broken_rule_of_the_request_as_a_whole_is_the_callers_mistake() -> None:
    """It has no field to name; that must not look like a defect of ours."""
    with pytest.raises(InvalidArgument) as refused:
        validate(
            watch_service_pb2.AckRevisionRequest(
                instance="one", outcome=watch_service_pb2.ACK_OUTCOME_REFUSED
            )
        )
    assert refused.value.reason == "INVALID_FIELD"
    assert [violation.field for violation in refused.value.violations] == [""]
    assert "refusals are required" in refused.value.message


def test_a_broken_rule_of_a_part_names_the_part() -> None:
    """Down to the element of a list."""
    update = settings_service_pb2.SettingUpdate(key="a.b", etag="x" * 65, reset_to_default=True)
    with pytest.raises(InvalidArgument) as refused:
        validate(settings_service_pb2.BatchUpdateSettingsRequest(updates=[update]))
    assert [violation.field for violation in refused.value.violations] == ["updates[0].etag"]
