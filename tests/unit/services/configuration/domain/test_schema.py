"""Schemas and values: refused with path and reason, and nothing is ever fetched."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.configuration.domain.schema import SchemaInvalid, check_schema, problems

NESTED = {
    "type": "object",
    "properties": {
        "windows": {"type": "array", "items": {"type": "object", "properties": {"hour": {"maximum": 23}}}}
    },
}


def test_a_problem_names_path_and_reason() -> None:
    """An operator must see which part of a long value is wrong."""
    (problem,) = problems(NESTED, {"windows": [{"hour": 1}, {"hour": 24}]})
    assert problem.path == ".windows[1].hour"
    assert "24" in problem.reason
    assert problem.rule == "maximum"


def test_an_integer_setting_takes_no_fraction() -> None:
    """Clients would round it in their own way."""
    assert problems({"type": "integer"}, 7) == ()
    assert problems({"type": "integer"}, 7.5)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"minimum": "1"},
        {"$ref": "https://example.com/schema.json"},
        {"properties": {"a": {"items": [{"$dynamicRef": "other.json#x"}]}}},
    ],
)
def test_what_is_no_schema_of_ours_is_refused(schema: dict[str, object]) -> None:
    """A schema that reaches outside would make configuration fetch what a service names."""
    with pytest.raises(SchemaInvalid):
        check_schema(schema)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/missing"}, {"$ref": "#"}])
def test_references_that_lead_nowhere_are_told(schema: dict[str, object]) -> None:
    """They pass the meta-schema and would fail at the first value otherwise, as a crash."""
    check_schema(schema)
    with pytest.raises(SchemaInvalid):
        problems(schema, 1)


def test_a_property_may_be_called_ref() -> None:
    """Only references are references."""
    check_schema({"properties": {"$ref": {"type": "string"}}})


def test_problems_are_bounded() -> None:
    """A value with a thousand faults must not make an answer with a thousand lines."""
    assert len(problems({"items": {"type": "string"}}, list(range(1000)))) == 10


@given(
    st.sampled_from(
        [
            {"type": "integer", "minimum": 1, "maximum": 9},
            {"enum": [1, "a", None]},
            {"type": "boolean"},
            {"maxLength": 3},
        ]
    ),
    st.none()
    | st.booleans()
    | st.integers(-5, 15)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
)
def test_we_judge_as_jsonschema_does(schema: dict[str, object], value: object) -> None:
    """Server and services must agree on every value; services call jsonschema.validate."""
    try:
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
        valid = True
    except jsonschema.ValidationError:
        valid = False
    assert (problems(schema, value) == ()) == valid
