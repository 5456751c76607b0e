"""Messages that are written down directly are those that the codec would have made."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.transcoding.codec import ProtobufPyCodec
from gateway.transcoding.plain import plain_of
from gateway.transcoding.schema import Schema
from gateway.transcoding.template import parse
from tests.unit.gateway.support import echo_set

SCHEMA = Schema(echo_set())
THING = SCHEMA.methods["/vivesphere.echo.v1.EchoService/CheckThing"].input
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(first=TEXT, second=TEXT)
def test_a_message_of_texts_is_the_codecs(first: str, second: str) -> None:
    """Whatever the order in the path, the length and the script; empty ones are absent."""
    plain = plain_of(THING, parse("/v1/{display_name}/of/{id}"))
    assert plain is not None
    codec = ProtobufPyCodec(SCHEMA.registry).message(THING)
    assert plain.wire([first, second]) == codec.to_wire({"displayName": first, "id": second})


def test_only_texts_without_presence_are_written_directly() -> None:
    """Numbers have many spellings, messages have parts, and an optional text is there though it be empty."""
    for variable in ("big", "note", "sub.text", "color", "left"):
        assert plain_of(THING, parse(f"/v1/{{{variable}}}")) is None
    assert plain_of(THING, parse("/v1/all")) is not None
