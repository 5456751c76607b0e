"""google.protobuf.Value and back."""

import math

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.configuration.convert.values import from_json, to_json
from services.configuration.domain.values import canonical

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_every_value_survives_the_way_there_and_back(value: object) -> None:
    """What an operator stores is what a service reads; 2.0 and 2 are the same JSON number."""
    there = to_json(from_json(value), "value")
    assert canonical(to_json(from_json(there), "value")) == canonical(there)
    assert json_format.MessageToDict(from_json(value)) == value


def test_seven_stays_seven() -> None:
    """`7.0` in a history or an export reads like a mistake."""
    assert canonical(to_json(from_json({"a": [7]}), "value")) == '{"a":[7]}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_by_path(number: float) -> None:
    """They would break every reader of the history."""
    value = struct_pb2.Value()
    value.struct_value.fields["limits"].list_value.values.add().number_value = number
    with pytest.raises(InvalidArgument) as refused:
        to_json(value, "value")
    assert refused.value.violations[0].field == "value.limits[0]"


def test_a_value_without_a_kind_is_refused() -> None:
    """It is what an unset Value looks like over gRPC; null is a kind of its own."""
    with pytest.raises(InvalidArgument):
        to_json(struct_pb2.Value(), "value")
    assert to_json(from_json(None), "value") is None
