"""OpenTelemetry's records become ours."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2

from mesh.ids import is_uuid
from mesh.interceptors.stages import validate
from services.logging import convert
from services.logging.domain.records import Record
from services.logging.otlp import MAX_ATTRIBUTES, MAX_BODY_BYTES, Refused, records_of

NOW = datetime(2026, 11, 26, tzinfo=UTC)
Value = common_pb2.AnyValue


def converted(*messages: logs_pb2.LogRecord, service: str = "shop") -> list[Record | Refused]:
    """The records of one export of a service."""
    request = logs_service_pb2.ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.add(key="service.name").value.string_value = service
    logs.scope_logs.add().log_records.extend(messages)
    return list(records_of(request, NOW, "somebody", frozenset({"gateway"})))


def one(message: logs_pb2.LogRecord, service: str = "shop") -> Record:
    """A record that is taken."""
    [record] = converted(message, service=service)
    assert isinstance(record, Record)
    return record


def test_a_repeated_export_gives_the_same_ids_and_times() -> None:
    """So that the store drops it as a duplicate; without a time of its own a record cannot be known again."""
    message = logs_pb2.LogRecord(time_unix_nano=1_700_000_000_123_456_789, body=Value(string_value="x"))
    first, second = one(message), one(message)
    assert is_uuid(first.id)
    assert (first.id, first.time) == (second.id, second.time)
    assert first.time == datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)


def test_records_that_differ_in_anything_have_ids_of_their_own() -> None:
    """Also two that are the same in every byte, if they come in one export."""
    message = logs_pb2.LogRecord(time_unix_nano=1, body=Value(string_value="x"))
    later = logs_pb2.LogRecord(time_unix_nano=2, body=Value(string_value="x"))
    seen = logs_pb2.LogRecord(time_unix_nano=1, observed_time_unix_nano=5, body=Value(string_value="x"))
    ids = {item.id for item in converted(message, message, later, seen) if isinstance(item, Record)}
    ids.add(one(message, service="another").id)
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(), ""),
        (Value(string_value="plain"), "plain"),
        (Value(int_value=3), "3"),
        (Value(bool_value=True), "true"),
        (Value(bytes_value=b"\x00\xff"), "AP8="),
        (Value(array_value=common_pb2.ArrayValue(values=[Value(int_value=1), Value()])), "[1, null]"),
        (
            Value(
                kvlist_value=common_pb2.KeyValueList(
                    values=[common_pb2.KeyValue(key="ä", value=Value(double_value=0.5))]
                )
            ),
            '{"ä": 0.5}',
        ),
    ],
)
def test_a_body_that_is_no_text_becomes_json(value: common_pb2.AnyValue, text: str) -> None:
    """A structured body can be read and searched."""
    assert one(logs_pb2.LogRecord(body=value)).body == text


def test_numbers_keep_what_they_say() -> None:
    """A reader of JSON holds integers up to 2^53, and no infinity."""
    message = logs_pb2.LogRecord()
    for name, value in {"small": 7, "large": 2**60}.items():
        message.attributes.add(key=name).value.int_value = value
    message.attributes.add(key="infinite").value.double_value = float("inf")
    assert one(message).attributes == {"small": 7, "large": str(2**60), "infinite": "inf"}


def test_what_does_not_fit_is_cut_and_counted() -> None:
    """A record is never refused for its size: the line that is too long is the interesting one."""
    message = logs_pb2.LogRecord(body=Value(string_value="ä" * MAX_BODY_BYTES))
    for n in range(100):
        message.attributes.add(key=f"name {n}").value.string_value = "x"
    record = one(message)
    assert len(record.body.encode()) == MAX_BODY_BYTES
    assert record.attributes["log.cut_bytes"] == MAX_BODY_BYTES
    assert record.attributes["log.cut_attributes"] == 100 - MAX_ATTRIBUTES
    fat = logs_pb2.LogRecord()
    fat.attributes.add(key="fat").value.string_value = "x" * 1_000_000
    fat.attributes.add(key="lean").value.string_value = "x"
    assert one(fat).attributes == {"lean": "x", "log.cut_attributes": 1}


def test_depth_has_an_end() -> None:
    """Nesting is free for whoever sends, and not for whoever reads."""
    value = Value(string_value="deep")
    for _ in range(40):
        value = Value(array_value=common_pb2.ArrayValue(values=[value]))
    message = logs_pb2.LogRecord(body=value)
    message.attributes.add(key="a").value.CopyFrom(value)
    assert one(message).body == '[[[[[[[["[cut]"]]]]]]]]'


ANY = st.recursive(
    st.one_of(
        st.builds(Value),
        st.builds(Value, string_value=st.text()),
        st.builds(Value, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(Value, double_value=st.floats()),
        st.builds(Value, bool_value=st.booleans()),
        st.builds(Value, bytes_value=st.binary()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda v: Value(array_value=common_pb2.ArrayValue(values=v))),
        st.lists(st.builds(common_pb2.KeyValue, key=st.text(), value=inner), max_size=4).map(
            lambda v: Value(kvlist_value=common_pb2.KeyValueList(values=v))
        ),
    ),
    max_leaves=12,
)
RECORDS = st.builds(
    logs_pb2.LogRecord,
    time_unix_nano=st.integers(0, 2**64 - 1),
    observed_time_unix_nano=st.integers(0, 2**64 - 1),
    severity_number=st.integers(-5, 50),
    severity_text=st.text(),
    body=ANY,
    attributes=st.lists(st.builds(common_pb2.KeyValue, key=st.text(), value=ANY), max_size=5),
    trace_id=st.binary(max_size=20),
    span_id=st.binary(max_size=20),
    event_name=st.text(max_size=10),
)


@given(RECORDS, st.text(max_size=80))
def test_whatever_comes_is_lawful_once_converted(message: Any, service: str) -> None:
    """The store and every reader rely on the contract of a record, whoever made it."""
    for item in converted(message, service=service):
        if isinstance(item, Record):
            told = convert.record_to(item)
            validate(told)
            assert "\0" not in repr(item)
            assert len(told.attributes.fields) <= 64
