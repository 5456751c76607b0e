"""Settings as YAML: what is written is read back, and what two readers could take differently is refused."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.configuration.domain.values import canonical, whole
from services.configuration.domain.yaml_file import MAX_BYTES, MAX_DEPTH, NotSettings, read, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(whole) | st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def _values(text: str) -> dict[str, Any]:
    return {entry.key: entry.value for entry in read(text)}


def _refused(text: str) -> NotSettings:
    with pytest.raises(NotSettings) as refused:
        read(text)
    return refused.value


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}(\.[a-z_]{1,6}){1,3}", fullmatch=True), VALUES, max_size=5))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    """Whatever the texts look like: numbers, dates, keywords, line breaks of four kinds, emoji."""
    text = write(((key, value, False) for key, value in values.items()), 7)
    assert canonical(_values(text)) == canonical(values)
    assert write(((key, values[key], False) for key in sorted(values, reverse=True)), 7) == text


@pytest.mark.parametrize(
    "text",
    [
        "1:30",
        "2026-01-01",
        "no",
        "1e3",
        "0o17",
        "null",
        "~",
        "",
        "<<",
        "a\u2028b",
        "\x85",
        "\x7f",
        "x" * 3000,
        "# x",
    ],
)
def test_texts_that_look_like_something_else_survive(text: str) -> None:
    """As values, as keys of a mapping, and inside of lists."""
    value = {text: [text, {text: text}]}
    assert _values(write([("a.b", value, False)], 1)) == {"a.b": value}


def test_a_file_reads_as_a_person_would_write_it() -> None:
    """The revision first, keys sorted, defaults marked, nothing quoted without need."""
    entries = [
        ("b.words", ["one", "no"], True),
        ("a.number", 3, False),
        ("c.rule", {"z": 1.5, "a": None}, False),
    ]
    assert write(entries, 42) == (
        "# ViveSphere settings, revision 42\n"
        "a.number: 3\n"
        '# default\nb.words:\n- one\n- "no"\n'
        "c.rule:\n  a: null\n  z: 1.5\n"
    )
    assert write([], 0) == "# ViveSphere settings, revision 0\n{}\n"
    assert read(write([], 0)) == ()


def test_values_are_json_and_lines_are_known() -> None:
    """JSON is accepted as it is, and problems can name a place."""
    assert [
        (e.key, e.value, e.line)
        for e in read('# x\na.b: 7.0\n\n"c.d": {"e": [1e3, -0.5, "x"]}\nf.g: a text\n')
    ] == [
        ("a.b", 7, 2),
        ("c.d", {"e": [1000, -0.5, "x"]}, 4),
        ("f.g", "a text", 5),
    ]
    assert type(read("a.b: 7.0")[0].value) is int


@pytest.mark.parametrize(
    "value",
    [
        *("yes", "No", "on", "OFF", "True", "NULL", "~", "y: 1\n  on: 2"),
        *(
            "017",
            "0o17",
            "0x1F",
            "0b11",
            "1_000",
            "+1",
            ".5",
            "1.",
            "1:30",
            "190:20:30",
            ".inf",
            "-.INF",
            ".nan",
        ),
        *("2026-01-01", "2026-01-01T00:00:00Z", "=", "1e400", "9007199254740993", "12345678901234567890", ""),
    ],
)
def test_what_readers_disagree_on_is_refused(value: str) -> None:
    """`no` is a country to one and false to another: whoever wrote it has to say which."""
    assert _refused(f"x.y: 1\na.b: {value}\n").line in (2, 3)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a.b: &x [1]\nc.d: *x\n", 1, "anchors"),
        ("a.b: 1\nc.d: *x\n", 2, "aliases"),
        ("a.b: !!int 3\n", 1, "tags"),
        ("a.b: !!python/object/apply:os.system [ls]\n", 1, "tags"),
        ("a.b: 1\na.b: 2\n", 2, "there already, in line 1"),
        ("a.b:\n  c: 1\n  c: 2\n", 3, "there already, in line 2"),
        ("a.b:\n  <<: {c: 1}\n", 2, "different things"),
        ("[1]: 2\n", 1, "key"),
        ("1: 2\n", 1, "no text"),
        ("- a\n", 1, "a mapping"),
        ("just text\n", 1, "a mapping"),
        ("# nothing\n", 1, "empty"),
        ("a.b: 1\n---\nc.d: 2\n", 2, "one document"),
        ("%YAML 1.1\n---\na.b: 1\n", 1, "directives"),
        ("a.b: [1\nc.d: 2\n", 2, "not YAML"),
        ("a.b: 1\x00", 0, "not YAML"),
        ("x" * (MAX_BYTES + 1), 0, "bytes"),
    ],
)
def test_a_refusal_names_line_and_reason(text: str, line: int, word: str) -> None:
    """Whoever wrote the file must find the place."""
    fault = _refused(text)
    assert (fault.line, word in fault.reason) == (line, True), fault.reason


@pytest.mark.parametrize("opening", ["[", "{x: ", "[{x: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    """A megabyte of brackets must cost neither the stack nor the minutes that libyaml would take for it."""
    assert "within one another" in _refused("a.b:\n " + opening * (MAX_BYTES // len(opening) - 8)).reason
    nested = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert read(f"a.b: {nested}")


def test_billions_of_laughs_are_none() -> None:
    """Nine levels of nine references are a gigabyte for a reader that follows them."""
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert _refused(laughs).line == 1


@given(
    st.text(st.characters(codec="utf-8"), max_size=200)
    | st.text("a:-[]{},&*!|>'\"%#?\n 01eE.<=~", max_size=200)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes out; and what is read means the same to a common YAML reader."""
    try:
        entries = read(text)
    except NotSettings:
        return
    common = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it builds texts, lists and mappings only
    assert list(common) == [entry.key for entry in entries]
