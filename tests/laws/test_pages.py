"""What the pages say can be followed: links lead somewhere, settings exist, tables and examples are the code's."""

import json
import re
from dataclasses import fields
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.json_format import ParseDict

from mesh.interceptors.stages import validate
from services.bot_manager.convert.importing import read_csv
from services.bot_manager.domain.importing import Candidate
from services.bot_manager.domain.limits import LEGACY, LIMITS, POST
from services.bot_manager.domain.money import PriceTable, Tier
from services.bot_manager.policy.settings import SEVERITIES
from tools.settings_table import definitions
from vivesphere.bot_manager.v1 import schedule_pb2

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SETTING = re.compile(r"`(bot_manager\.[a-z_]+\.[a-z_]+)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    prose = BLOCK.sub("", text_of(page))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(prose)
    }


def example(name: str, language: str) -> str:
    """The first block of a language on a page of docs/."""
    return next(body for kind, body in BLOCK.findall(text_of(ROOT / "docs" / name)) if kind == language)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    """Who follows one is looking for help."""
    for link in LINK.findall(BLOCK.sub("", text_of(page))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_a_page_names_exist(page: Path) -> None:
    """A name that is wrong is found out in an emergency."""
    known = {definition.key for definition in definitions()}
    assert set(SETTING.findall(text_of(page))) <= known


def test_every_page_is_in_the_readme() -> None:
    """One that nobody finds helps nobody."""
    readme = text_of(ROOT / "README.md")
    assert all(f"(docs/{page.name})" in readme for page in (ROOT / "docs").glob("*.md"))


def test_the_rules_of_policy_are_told_with_their_weight() -> None:
    """In the order in which they are read out."""
    told = re.findall(r"^\| `(\w+)` \| (\w+) \|", text_of(ROOT / "docs" / "policy.md"), re.MULTILINE)
    assert told == [(rule.lower(), setting.default) for rule, setting in SEVERITIES.items()]


def test_prices_and_limits_are_those_of_the_code() -> None:
    """Money is decided by them."""
    page = text_of(ROOT / "docs" / "apps-and-money.md")
    prices, found = PriceTable(), set()
    for names, amounts in re.findall(r"^\| (`[a-z_`, ]+`) \| ([\d, ]+) \|", page, re.MULTILINE):
        told = [int(amount.replace(",", "")) for amount in amounts.split(", ")]
        assert told == [getattr(prices, name) for name in re.findall(r"\w+", names)]
        found |= set(re.findall(r"\w+", names))
    assert found == {field.name for field in fields(prices)}
    user, app = LIMITS[POST]
    assert f"| of one account in 15 minutes | {user.calls} (" in page
    assert f"| of one app in 24 hours | {app.calls:,}, or" in page
    for tier in (Tier.FREE, Tier.BASIC):
        user, app = LEGACY[tier]
        assert (
            f"| legacy tier {tier} | {user.calls} a day for the account, {app.calls:,} for the app |" in page
        )


def test_the_example_of_an_import_is_a_file_without_errors() -> None:
    """It is copied before it is read."""
    file = read_csv(example("policy.md", "csv"), ZoneInfo("Europe/Berlin"), "bot")
    found = list(file.items)
    assert len(found) == 4
    assert all(isinstance(one, Candidate) for one in found)


def test_the_example_of_a_schedule_is_one() -> None:
    """By the contract."""
    made = ParseDict(json.loads(example("schedules.md", "json")), schedule_pb2.Schedule())
    validate(made)
    assert made.recurrence.rrule
