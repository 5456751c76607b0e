"""Secrets: nothing shows them but `reveal`."""

import copy
import dataclasses
import hmac
import json
import logging
import marshal
import multiprocessing.reduction
import pickle
import pprint
import reprlib
import traceback
from pathlib import Path

import pydantic
import pydantic_core
import pytest
from loguru import logger

from mesh.secret import MAX_FILE_BYTES, Secret

CANARY = "canary-9f8e7d"


@dataclasses.dataclass(frozen=True)
class Holder:
    """Something that carries a secret."""

    name: str
    secret: Secret


class Model(pydantic.BaseModel):
    """A pydantic model that carries one."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    secret: Secret


@pytest.mark.parametrize(
    "shown",
    [
        lambda s: str(s),
        lambda s: repr(s),
        lambda s: f"{s}",
        lambda s: f"{s!r:>40}",
        lambda s: f"{s:>40}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031  # the old operator is the subject
        lambda s: "{}".format(s),  # noqa: UP032  # the method is the subject
        lambda s: repr([s, {"k": s}]),
        lambda s: repr(Holder("n", s)),
        lambda s: repr(dataclasses.asdict(Holder("n", s))),
        lambda s: json.dumps({"k": s}, default=str),
        lambda s: json.dumps({"k": s}, default=repr),
        lambda s: repr(ValueError(s)),
        lambda s: logging.makeLogRecord({"msg": "%s", "args": (s,)}).getMessage(),
        lambda s: repr(copy.deepcopy(s)) + repr(copy.copy(s)),
        lambda s: repr(dir(s)),
        lambda s: ascii(s),
        lambda s: reprlib.repr([s]),
        lambda s: pprint.pformat({"k": [s, Holder("n", s)]}),
        lambda s: str(ExceptionGroup("g", [ValueError(s), KeyError(s)]).exceptions),
        lambda s: repr(dataclasses.replace(Holder("n", s), name="m")),
        lambda s: repr(Model(secret=s)) + str(Model(secret=s).model_dump()),
        lambda s: pydantic_core.to_json({"k": s}, fallback=repr).decode(),
    ],
)
def test_no_way_of_printing_shows_it(shown: object) -> None:
    """One careless log line is all it takes."""
    assert CANARY not in shown(Secret(CANARY))  # type: ignore[operator]  # a lambda


@pytest.mark.parametrize(
    "serialise",
    [
        pickle.dumps,
        lambda s: pickle.dumps(s, 0),
        lambda s: pickle.dumps(Holder("n", s)),
        json.dumps,
        vars,
        iter,
        len,
        hash,
        bytes,
        lambda s: s.__getstate__(),
        lambda s: s + "",
        lambda s: "" in s,
        lambda s: "".join([s]),
        lambda s: {s: 1},
        lambda s: {s},
        lambda s: s < s,
        lambda s: json.dumps({"k": s}, default=vars),
        multiprocessing.reduction.ForkingPickler.dumps,
    ],
)
def test_what_would_copy_it_out_is_refused(serialise: object) -> None:
    """Caches, queues and process pools pickle what they are given."""
    with pytest.raises(TypeError) as caught:
        serialise(Secret(CANARY))  # type: ignore[operator]  # a function
    assert CANARY not in str(caught.value)


def test_serialisers_with_errors_of_their_own_refuse_it_too() -> None:
    """marshal writes bytecode caches, pydantic answers of many programs."""
    with pytest.raises(ValueError, match="unmarshallable"):
        marshal.dumps(Secret(CANARY))
    with pytest.raises(pydantic_core.PydanticSerializationError) as caught:
        Model(secret=Secret(CANARY)).model_dump_json()
    assert CANARY not in str(caught.value)
    with pytest.raises(pydantic.ValidationError) as refused:
        pydantic.TypeAdapter(int).validate_python(Secret(CANARY))
    assert CANARY not in str(refused.value)


def test_comparing_is_left_to_a_function_whose_time_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that ends at the first difference lets a secret be guessed character by character."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert Secret("a") != Secret("b")
    assert compared == [(b"a", b"b")]


def test_a_traceback_of_a_failing_use_does_not_show_it() -> None:
    """Even with local variables printed."""
    secret = Secret(CANARY)
    try:
        int(secret)  # type: ignore[call-overload]  # the failure is the subject
    except TypeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(****)" in text
    assert "TypeError" in text
    assert CANARY not in text.replace(f"CANARY = '{CANARY}'", "")


def test_loguru_fields_do_not_show_it() -> None:
    """Fields are serialised with str as the last resort."""
    lines: list[str] = []
    sink = logger.add(lines.append, serialize=True, format="{message} {extra}")
    try:
        logger.bind(secret=Secret(CANARY)).info("used")
    finally:
        logger.remove(sink)
    assert lines
    assert CANARY not in "".join(lines)


def test_equality_compares_values_of_secrets_only() -> None:
    """A comparison with plain text would be a timing oracle and a sign of a mistake."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\ud800") != Secret("x")
    assert (bool(Secret("")), bool(Secret("0"))) == (False, True)


def test_it_cannot_be_changed_and_holds_only_text() -> None:
    """Shared between tasks, so nobody may swap it."""
    secret = Secret("a")
    with pytest.raises(AttributeError):
        secret._value = "b"
    with pytest.raises(AttributeError):
        del secret._value
    with pytest.raises(TypeError, match="text"):
        Secret(b"bytes")  # type: ignore[arg-type]  # the mistake is the subject


def test_from_file_drops_line_ends_and_nothing_else(tmp_path: Path) -> None:
    """Editors end files with a line break; passwords may begin or end with a space."""
    file = tmp_path / "secret"
    file.write_bytes(b" pass word \r\n")
    assert Secret.from_file(file).reveal() == " pass word "


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff" + CANARY.encode(), b"x" * (MAX_FILE_BYTES + 1)])
def test_from_file_refuses_what_is_no_secret_without_showing_it(tmp_path: Path, content: bytes) -> None:
    """The error names the file, never its bytes, in no attribute and no chained error."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="secret") as caught:
        Secret.from_file(file)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_from_file_says_when_there_is_no_file(tmp_path: Path) -> None:
    """A missing mount is told apart from an empty one."""
    with pytest.raises(FileNotFoundError):
        Secret.from_file(tmp_path / "absent")
