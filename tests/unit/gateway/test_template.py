"""Laws of the path template grammar (google/api/http.proto)."""

import pytest

from gateway.transcoding.template import TemplateError, parse


@pytest.mark.parametrize(
    ("text", "segments", "verb", "variables"),
    [
        ("/", (), "", []),
        ("/v1/messages", ("v1", "messages"), "", []),
        ("/v1/*/a/**", ("v1", "*", "a", "**"), "", []),
        ("/v1/{name}", ("v1", "*"), "", [("name", 1, 2, False)]),
        ("/v1/{a.b.c=*}:cancel", ("v1", "*"), "cancel", [("a.b.c", 1, 2, False)]),
        ("/v1/{name=shelves/*/books/**}", ("v1", "shelves", "*", "books", "**"), "", [("name", 1, 5, True)]),
        ("/{a=**}/tail", ("**", "tail"), "", [("a", 0, 1, True)]),
        ("/{a}/{b=x/*}:go", ("*", "x", "*"), "go", [("a", 0, 1, False), ("b", 1, 3, True)]),
    ],
)
def test_a_valid_template_parses(text: str, segments: object, verb: str, variables: object) -> None:
    """The whole grammar is understood, because contracts of others are served too."""
    parsed = parse(text)
    found = [(v.field_path, v.start, v.end, v.multiple) for v in parsed.variables]
    assert (parsed.segments, parsed.verb, found) == (segments, verb, variables)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "//", "/a/", "/a//b", "/{", "/{}", "/{a", "/{a=}", "/{a={b}}", "/{1a}", "/{a.}", "/a:", "/:verb", "/a:b:c",
        "/**/**", "/**/*", "/{a=**}/{b}", "/a b", "/a?b", "/%zz", "/***", "/a*", "/{a}b", "/{a}/{a}",
    ],
)  # fmt: skip
def test_an_invalid_template_is_refused_and_quoted(text: str) -> None:
    """A mistake in a contract stops the start, and the message leads to it."""
    with pytest.raises(TemplateError, match="path template"):
        parse(text)


def test_variables_behind_a_double_star_count_from_the_end() -> None:
    """`**` takes any number of segments, also none, without shifting what follows."""
    parsed = parse("/{head}/{rest=**}/tail")
    assert parsed.extract(["h", "a", "b", "tail"]) == ["h", "a/b"]
    assert parsed.extract(["h", "tail"]) == ["h", ""]


def test_a_path_is_decoded_once_and_reserved_characters_stay_in_long_variables() -> None:
    """`%2F` inside a name of several segments must not look like a boundary; `%25` must not open a second decoding."""
    assert parse("/{a}").extract(["x%2Fy%2520"]) == ["x/y%20"]
    assert parse("/{a=**}").extract(["x%2Fy", "%20%C3%A4"]) == ["x%2Fy/ ä"]


@pytest.mark.parametrize("raw", ["%zz", "%2", "%", "%ff", "%C3"])
def test_broken_escapes_and_bytes_that_are_not_utf8_are_refused(raw: str) -> None:
    """They are the client's mistake, never a 500."""
    for template in ("/{a}", "/{a=**}"):
        with pytest.raises(ValueError):
            parse(template).extract([raw])
