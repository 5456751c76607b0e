"""Patterns of people: applied everywhere at once, judged when set, and unable to stop a process."""

from collections.abc import Iterator

import pytest

from mesh.configuration.own import OwnSettings
from mesh.redaction import REDACTED, redactor
from mesh.redaction.patterns import MAX_PATTERN_CHARS, MAX_PATTERNS, PatternError
from mesh.redaction.settings import REDACTION_PATTERNS, follow_patterns
from tests.unit.mesh.configuration.said import said


@pytest.fixture(autouse=True)
def no_patterns() -> Iterator[None]:
    yield
    redactor.use([])


def test_what_matches_is_replaced_in_texts_names_and_values() -> None:
    """A company knows its own kinds of secret; a text that was clean before is looked at again."""
    assert redactor.constant("order ACME-1234") == "order ACME-1234"
    redactor.use([r"ACME-\d+", r"(?i)customer \w+"])
    assert redactor.constant("order ACME-1234") == f"order {REDACTED}"
    assert redactor.fields({"ACME-1": ["Customer Bob", 5], "b": {"c": "ACME-2!"}}) == {
        REDACTED: [REDACTED, 5],
        "b": {"c": f"{REDACTED}!"},
    }
    redactor.use([])
    assert redactor.constant("order ACME-1234") == "order ACME-1234"


def test_ids_can_be_matched_too() -> None:
    """They take a shorter way otherwise."""
    redactor.use([r"[0-9a-f]{8}-[0-9a-f-]{27}"])
    assert redactor.text("0193c9a1-7b4e-7d2c-9a55-0c1d2e3f4a5b") == REDACTED


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        (["fine", "("], "pattern 2"),
        ([r"(a)\1"], "pattern 1"),
        (["a", "b*"], "pattern 2 matches an empty text"),
        (["x" * (MAX_PATTERN_CHARS + 1)], "longer"),
        (["a"] * (MAX_PATTERNS + 1), "more than"),
        ([r"(?:\pL{1,1000}){1,1000}"], "pattern 1"),
        (["\ud800"], "pattern 1"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_and_the_others_stay(patterns: list[str], why: str) -> None:
    """The operator is told which, without the pattern itself, which may quote what it is to hide."""
    redactor.use(["ACME"])
    with pytest.raises(PatternError, match=why):
        redactor.use(patterns)
    assert redactor.text("ACME") == REDACTED


def test_a_catastrophic_pattern_and_any_text_are_borne() -> None:
    """With a matcher that backtracks this would take longer than the universe has existed."""
    redactor.use([r"(a+)+$", r"(.*a){12}x"])
    redactor.text("a" * 100_000 + "!")
    redactor.use(["secret-[a-z]+"])
    assert redactor.text("\ud800 secret-abc \x00") == f"\\ud800 {REDACTED} \x00"


def test_a_process_follows_the_setting_and_reports_what_it_refuses() -> None:
    """A mistake must neither switch the other patterns off nor go unnoticed: health tells the reason."""
    own = OwnSettings("tester-1")
    follow_patterns(own)  # type: ignore[arg-type]  # the part of a watch that judges values
    own.accept(said(1, (REDACTION_PATTERNS, ["ACME-[0-9]+"])))
    assert redactor.text("ACME-7") == REDACTED
    own.accept(said(2, (REDACTION_PATTERNS, ["fine", "("])))
    assert redactor.text("ACME-7") == REDACTED
    assert own.refusals[REDACTION_PATTERNS.key].startswith("pattern 2")
    own.accept(said(3, (REDACTION_PATTERNS, [])))
    assert (redactor.text("ACME-7"), dict(own.refusals)) == ("ACME-7", {})
