"""The page about OWASP's ASVS says nothing that cannot be looked up: each row names tests that exist, or a reason.

The list of requirements is the page's own; its headings and its first lines say how many there are, so that none gets lost.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security" / "asvs.md"
ROW = re.compile(
    r"^\| (v5\.0\.0-\d+\.\d+\.\d+) \| ([123]) \| ([^|]+) \| ([a-z ]+) \| ([^|]+) \|$", re.MULTILINE
)
CHAPTER = re.compile(r"^## (\d+) .*\((\d+)\)$", re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")
STATES = {"proved", "partly", "differs", "not built", "not applicable"}
LEAST_WORDS = 5


class Row(NamedTuple):
    """One requirement."""

    id: str
    level: str
    asks: str
    state: str
    why: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return TEST.findall(self.why)

    @property
    def reason(self) -> str:
        """What is said besides tests."""
        return TEST.sub("", self.why)


def rows() -> list[Row]:
    return [Row(*match) for match in ROW.findall(PAGE.read_text(encoding="utf-8"))]


@cache
def functions_of(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.exists():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_requirement_is_there_once() -> None:
    """A row that got lost would be a requirement that nobody misses."""
    page, found = PAGE.read_text(encoding="utf-8"), rows()
    lines = [line for line in page.splitlines() if line.startswith("| v5.0.0-")]
    assert len(lines) == len(found), "a row that is not of the form of a row"
    assert len({row.id for row in found}) == len(found)
    told = re.search(r"\b(\d+) requirements\b", page)
    assert told is not None
    assert int(told[1]) == len(found) == 147
    for chapter, count in CHAPTER.findall(page):
        assert sum(row.id.startswith(f"v5.0.0-{chapter}.") for row in found) == int(count), chapter


def test_every_row_has_its_proof_or_its_reason() -> None:
    """ "Proved" without a test is a wish; anything less than proved has to say what is missing."""
    wrong = []
    for row in rows():
        says_enough = len(re.findall(r"\w[\w'-]*", row.reason)) >= LEAST_WORDS
        needs_test, needs_reason = row.state in ("proved", "partly"), row.state != "proved"
        if (
            row.state not in STATES
            or (needs_test and not row.tests)
            or (needs_reason and not says_enough)
            or row.why.count("`tests/") != len(row.tests)
        ):
            wrong.append(row)
    assert wrong == []


def test_every_test_that_is_named_exists() -> None:
    """A proof that was renamed away proves nothing."""
    missing = [
        f"{row.id}: {path}::{name}"
        for row in rows()
        for path, name in row.tests
        if name not in functions_of(path)
    ]
    assert missing == []


def test_the_summary_counts_what_is_below() -> None:
    """Whoever reads only the first lines must not read better news than there are."""
    page = PAGE.read_text(encoding="utf-8")
    for state in STATES:
        told = re.search(rf"^\| {state} \| (\d+) \|", page, re.MULTILINE)
        assert told is not None, state
        assert int(told[1]) == sum(row.state == state for row in rows()), state
