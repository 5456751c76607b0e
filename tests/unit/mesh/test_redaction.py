"""Nothing secret gets past the redactor, and nothing else is lost."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.redaction import REDACTED, is_sensitive_name, redact_message, redactor
from mesh.redaction.shapes import LONG_RUN, may_be_bare, may_be_named
from mesh.secret import Secret
from tests.unit.mesh.redaction_corpus import CLEAN, JWT, OAUTH_SECRET, SHAPES, WORD

REMAINS = 8


def assert_gone(secret: str, text: str) -> None:
    for start in range(len(secret) - REMAINS):
        assert secret[start : start + REMAINS + 1] not in text


@pytest.mark.parametrize("name", SHAPES)
def test_a_secret_of_a_known_shape_does_not_survive(name: str) -> None:
    """One shape that gets through puts a live credential into the log store."""
    text, secret = SHAPES[name]
    clean = redactor.text(text)
    assert_gone(secret, clean)
    assert REDACTED in clean


@pytest.mark.parametrize("name", SHAPES)
def test_redacting_twice_changes_nothing(name: str) -> None:
    """Records are redacted at the source and again on ingest."""
    once = redactor.text(SHAPES[name][0])
    assert redactor.text(once) == once


@pytest.mark.parametrize("text", CLEAN)
def test_a_line_without_secrets_stays_as_it_is(text: str) -> None:
    """Logs that lose ids and paths are of no use to whoever looks for a fault."""
    assert redactor.text(text) == text


def test_everything_around_a_secret_stays() -> None:
    """The name of what was redacted and its neighbours tell the reader what happened."""
    assert redactor.text(f"password={WORD} user=a") == f"password={REDACTED} user=a"
    assert redactor.text(f"a://u:{WORD}@h:1/p") == f"a://{REDACTED}@h:1/p"
    assert redactor.text("Cookie: a=b\nnext line") == f"Cookie: {REDACTED}\nnext line"


@given(st.text(max_size=200))
def test_any_text_is_taken_and_twice_is_as_once(text: str) -> None:
    """Log lines hold what attackers send."""
    once = redactor.text(text)
    assert redactor.text(once) == once


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_token_is_found_wherever_it_stands(before: str, after: str) -> None:
    """The neighbourhood must not hide it, unless it makes another word of it."""
    text = f"{before} {JWT} {after}"
    assert JWT not in redactor.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "A1a" * 100_000,
        "token " * 50_000,
        "://" * 100_000,
        "\\" * 200_000 + "password='",
        "eyJ." * 80_000,
    ],
    ids=lambda text: text[:8],
)
def test_hostile_lines_are_read_in_linear_time(text: str) -> None:
    """A pattern that backtracks is a way to stop the process; with quadratic cost these lines take minutes."""
    redactor.text(text)


def test_a_clean_short_line_takes_the_fast_path() -> None:
    """Almost every line is clean, so almost every line must cost next to nothing: no literal, no long run, no pattern."""
    line = "post claimed by worker in 12 ms"
    assert not may_be_named(line)
    assert not may_be_bare(line)
    assert LONG_RUN.search(line) is None


@pytest.mark.parametrize(
    "name",
    ["password", "newPassword", "client_secret", "accessToken", "Authorization", "x-api-key", "Set-Cookie", "cookies", "otp",
     "private_key", "secret_id", "oauth_signature", "credentials", "consumerKey"],
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    """A secret without a shape of its own is known by its name alone."""
    assert is_sensitive_name(name)


@pytest.mark.parametrize(
    "name",
    ["page_token", "nextPageToken", "token_type", "password_file", "secret_version", "bot_id", "token_id", "key", "author", "code",
     "passwordless", "secret_name"],
)  # fmt: skip
def test_names_that_only_speak_of_secrets_are_not(name: str) -> None:
    """Losing these would make the trail useless."""
    assert not is_sensitive_name(name)


def test_fields_are_redacted_at_every_depth() -> None:
    """Secrets hide in nested requests, in lists of arguments and in objects that turn themselves into text."""
    fields = {
        "bot": {"credentials": {"a": WORD}, "note": f"Bearer {JWT}"},
        "argv": ["--password", WORD, "-v"],
        "rows": ({"token": WORD}, [f"password={WORD}"]),
        "raw": f"password={WORD}".encode(),
        "error": ValueError(f"token={WORD}"),
        "secret_holder": Secret(WORD),
        f"password={WORD}": 1,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "tokens": 5,
        "token": None,
        "count": 1.5,
    }
    clean = redactor.fields(fields)
    assert_gone(WORD, json.dumps(clean))
    assert_gone(JWT, json.dumps(clean))
    assert clean["when"] == "2026-01-01T00:00:00+00:00"
    assert (clean["tokens"], clean["token"], clean["count"]) == (5, None, 1.5)


def test_endless_and_huge_values_are_cut() -> None:
    """A field may hold anything, including itself."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert "[cut]" in json.dumps(redactor.fields(endless))
    assert len(redactor.fields({"list": list(range(10_000))})["list"]) < 300  # type: ignore[arg-type]  # a list, as given


def test_a_message_is_never_turned_into_text() -> None:
    """str() of a protobuf message shows fields marked debug_redact."""
    assert redactor.value(struct_pb2.Value(string_value="x")) == "<google.protobuf.Value>"


def _schema() -> Any:
    """A message type with every kind of field, some of them marked `debug_redact`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="redaction_test.proto", package="redaction_test", syntax="proto3"
    )
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"])
    thing = file.message_type.add(name="Thing")

    def add(
        name: str, number: int, kind: Any, *, redact: bool = False, many: bool = False, type_name: str = ""
    ) -> None:
        field = thing.field.add(name=name, number=number, type=kind)
        field.label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
        if type_name:
            field.type_name = type_name
        field.options.debug_redact = redact

    add("user_name", 1, kinds.TYPE_STRING)
    add("pin", 2, kinds.TYPE_STRING, redact=True)
    add("pins", 3, kinds.TYPE_STRING, redact=True, many=True)
    add("blob", 4, kinds.TYPE_BYTES)
    add("big", 5, kinds.TYPE_INT64)
    add("child", 6, kinds.TYPE_MESSAGE, type_name=".redaction_test.Thing")
    add("children", 7, kinds.TYPE_MESSAGE, many=True, type_name=".redaction_test.Thing")
    add("hidden", 8, kinds.TYPE_MESSAGE, redact=True, type_name=".redaction_test.Thing")
    add("when", 9, kinds.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp")
    add("extra", 10, kinds.TYPE_MESSAGE, type_name=".google.protobuf.Struct")
    add("labels", 11, kinds.TYPE_MESSAGE, many=True, type_name=".redaction_test.Thing.LabelsEntry")
    add(
        "secret_labels",
        12,
        kinds.TYPE_MESSAGE,
        redact=True,
        many=True,
        type_name=".redaction_test.Thing.LabelsEntry",
    )
    add("ratio", 13, kinds.TYPE_DOUBLE)
    add("by_name", 14, kinds.TYPE_MESSAGE, many=True, type_name=".redaction_test.Thing.ByNameEntry")
    for entry_name, value in (("LabelsEntry", kinds.TYPE_STRING), ("ByNameEntry", kinds.TYPE_MESSAGE)):
        entry = thing.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
        field = entry.field.add(name="value", number=2, type=value, label=kinds.LABEL_OPTIONAL)
        if value == kinds.TYPE_MESSAGE:
            field.type_name = ".redaction_test.Thing"
    thing.field[11].type_name = ".redaction_test.Thing.SecretLabelsEntry"
    twin = thing.nested_type.add()
    twin.CopyFrom(thing.nested_type[0])
    twin.name = "SecretLabelsEntry"
    pool = descriptor_pool.DescriptorPool()
    for dependency in (timestamp_pb2, struct_pb2):
        pool.AddSerializedFile(dependency.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("redaction_test.Thing"))


Thing = _schema()


def test_marked_fields_of_a_message_are_replaced_wherever_they_are() -> None:
    """The audit trail keeps requests for years; a password in one would be kept with it."""
    marked = {"pin": WORD, "pins": [WORD], "hidden": {"user_name": WORD}, "secret_labels": {"a": WORD}}
    message = Thing(
        user_name="ada",
        child=Thing(**marked),
        children=[Thing(**marked)],
        by_name={"x": Thing(**marked)},
        **marked,
    )
    clean = redact_message(message)
    assert_gone(WORD, json.dumps(clean))
    assert clean["userName"] == "ada"
    assert clean["pin"] == clean["pins"] == clean["hidden"] == clean["secretLabels"] == REDACTED
    assert clean["children"][0]["hidden"] == REDACTED  # type: ignore[index,call-overload]  # nested JSON


def test_the_rest_of_a_message_is_proto_json() -> None:
    """Whoever reads the trail knows the API in that form, and Struct takes nothing else."""
    message = Thing(blob=b"123", big=2**60, ratio=float("nan"), labels={"b": "2", "a": "1"})
    message.when.FromSeconds(0)
    message.extra.update({"note": f"password={WORD}", "n": 1})
    clean = redact_message(message)
    assert clean == {
        "blob": "[3 bytes]",
        "big": str(2**60),
        "when": "1970-01-01T00:00:00Z",
        "extra": {"note": f"password={REDACTED}", "n": 1.0},
        "labels": {"a": "1", "b": "2"},
        "ratio": "nan",
    }
    struct_pb2.Struct().update(clean)


def test_unmarked_texts_pass_the_redactor() -> None:
    """A user may paste a token into a display name."""
    assert_gone(OAUTH_SECRET, json.dumps(redact_message(Thing(user_name=OAUTH_SECRET))))


def test_the_size_of_a_redacted_message_is_bounded() -> None:
    """A request may be megabytes large; its trail may not."""
    deep = Thing(user_name="x")
    for _ in range(60):
        deep = Thing(child=deep)
    huge = Thing(
        user_name="ü" * 100_000, children=[Thing(user_name="y" * 500) for _ in range(5000)], child=deep
    )
    text = json.dumps(redact_message(huge), ensure_ascii=False)
    assert len(text.encode()) < 40 * 1024
    assert "[cut]" in text
