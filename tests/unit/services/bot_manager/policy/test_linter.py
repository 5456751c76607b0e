"""Each rule of the policy checks: what it finds, where, and what it leaves alone."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.errors import FailedPrecondition
from services.bot_manager.domain.making import refuse
from services.bot_manager.domain.model import (
    WHOLE_POST,
    Bot,
    BotState,
    Finding,
    Part,
    PartState,
    PolicyRule,
    Post,
    PostState,
    Severity,
)
from services.bot_manager.domain.policy.facts import Facts, Likeness
from services.bot_manager.domain.policy.linter import CHECKS, errors_only, lint
from services.bot_manager.policy.settings import Policy
from tests.fakes.prices import ListPrices

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STATED = {"label_enabled": True, "operator_handle": "boss"}
BOT = Bot("bot-1", "acme", BotState.ACTIVE, NOW, NOW, automation=STATED)
DEFAULTS = Policy.of().severities
ERROR, WARNING = Severity.ERROR, Severity.WARNING
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Medium:
    """A medium as the checks see it."""

    kind: str
    has_alt_text: bool = False
    state: str = "READY"


def post(*texts: str, media: tuple[str, ...] = (), **content: Any) -> Post:
    parts = tuple(Part(index, text) for index, text in enumerate(texts or ("hello",)))
    parts = (replace(parts[0], media_ids=media), *parts[1:])
    return Post("p", "bot-1", PostState.DRAFT, parts, NOW, NOW, content=content)


def facts(given: Post, **more: Any) -> Facts:
    return Facts(given, NOW, **{"bot": BOT, "at": NOW, "prices": ListPrices(), **more})


def said(text: str, at: timedelta = HOUR, *, ours: bool = True, same: bool = True, part: int = 0) -> Likeness:
    return Likeness(part, "other", ours, same, NOW + at, text)


def found(given: Facts) -> list[tuple[PolicyRule, Severity, int, str]]:
    return [(one.rule, one.severity, one.part_index, one.field) for one in lint(given, DEFAULTS)]


R = PolicyRule
LONG = "The harbour master says that the ferry to the islands leaves at noon from pier four, weather permitting, today."
CASES: list[tuple[str, Facts, list[tuple[PolicyRule, Severity, int, str]]]] = [
    ("nothing wrong", facts(post("hello")), []),
    ("empty once rendered", facts(post(" \n")), [(R.EMPTY, ERROR, 0, "text")]),
    ("media speak for themselves", facts(post("", media=("m",))), []),
    ("a letter too many", facts(post("fine", "a" * 281)), [(R.TOO_LONG, ERROR, 1, "text")]),
    ("just short enough", facts(post("日" * 140)), []),
    ("weighed, not counted", facts(post("日" * 141)), [(R.TOO_LONG, ERROR, 0, "text")]),
    (
        "links of four letters weigh 23",
        facts(post("t.co " * 12)),
        [(R.TOO_LONG, ERROR, 0, "text"), (R.URL_PRICE, WARNING, 0, "text")],
    ),
    ("Premium may be long", facts(post("a" * 281), bot=replace(BOT, policy={"long_posts": True})), []),
    ("what is rendered counts", facts(replace(post(), parts=(Part(0, "a" * 999, rendered_text="a"),))), []),
    (
        "what is on X is past",
        facts(replace(post(), parts=(Part(0, "a" * 999, PartState.PUBLISHED), Part(1, "b")))),
        [],
    ),
    ("one cashtag", facts(post("$BTC up, $BTC down, costs $5")), []),
    ("two cashtags", facts(post("$BTC and $ETH")), [(R.CASHTAGS, ERROR, 0, "text")]),
    ("a stranger", facts(post("hi @stranger")), [(R.MENTIONS, WARNING, 0, "text")]),
    ("the operator and itself", facts(post("by @Boss of @ACME")), []),
    (
        "a reply names whom it answers",
        facts(post("hi @stranger", reply_to_x_post_id="1")),
        [(R.COLD_REPLY, WARNING, WHOLE_POST, "reply_to_x_post_id")],
    ),
    ("a reply to itself", facts(post(reply_to_x_post_id="1"), replies_to_own=True), []),
    ("a link costs", facts(post("see https://example.com")), [(R.URL_PRICE, WARNING, 0, "text")]),
    ("a link that costs nothing", facts(post("see https://example.com"), prices=None), []),
    (
        "a quote below Enterprise",
        facts(post(quote_x_post_id="1"), tier="PRO"),
        [(R.UNAVAILABLE_FEATURE, ERROR, WHOLE_POST, "quote_x_post_id")],
    ),
    (
        "a quote of an unknown tier",
        facts(post(quote_x_post_id="1")),
        [(R.UNAVAILABLE_FEATURE, WARNING, WHOLE_POST, "quote_x_post_id")],
    ),
    ("a quote with Enterprise", facts(post(quote_x_post_id="1"), tier="ENTERPRISE"), []),
    (
        "subscribers and communities",
        facts(post(reply_settings="REPLY_SETTINGS_SUBSCRIBERS", community_id="1")),
        [
            (R.UNAVAILABLE_FEATURE, WARNING, WHOLE_POST, "reply_settings"),
            (R.UNAVAILABLE_FEATURE, WARNING, WHOLE_POST, "community_id"),
        ],
    ),
    (
        "media and poll",
        facts(post(media=("m",), poll={})),
        [(R.MEDIA_MIX, ERROR, WHOLE_POST, "poll")],
    ),
    (
        "two kinds of media",
        facts(
            post(media=("i", "v")),
            media={"i": Medium("IMAGE", has_alt_text=True), "v": Medium("VIDEO", has_alt_text=True)},
        ),
        [(R.MEDIA_MIX, ERROR, 0, "media_ids")],
    ),
    (
        "two videos",
        facts(post(media=("v", "w")), media=dict.fromkeys("vw", Medium("VIDEO", has_alt_text=True))),
        [(R.MEDIA_MIX, ERROR, 0, "media_ids")],
    ),
    (
        "four images",
        facts(post(media=tuple("abcd")), media=dict.fromkeys("abcd", Medium("IMAGE", has_alt_text=True))),
        [],
    ),
    (
        "a medium that is not ready",
        facts(post(media=("v",)), media={"v": Medium("VIDEO", has_alt_text=True, state="FAILED")}),
        [(R.MEDIA_MIX, ERROR, 0, "media_ids")],
    ),
    (
        "a picture that nobody describes",
        facts(post(media=("i",)), media={"i": Medium("IMAGE")}),
        [(R.ALT_TEXT, WARNING, 0, "media_ids")],
    ),
    (
        "a bot that states nothing",
        facts(post(), bot=replace(BOT, automation=None)),
        [(R.AUTOMATION_LABEL, WARNING, WHOLE_POST, "")],
    ),
    (
        "nobody who operates it",
        facts(post(), bot=replace(BOT, automation={"label_enabled": True})),
        [(R.AUTOMATION_LABEL, WARNING, WHOLE_POST, "")],
    ),
    ("no bot, no statement", facts(post(), bot=None), []),
    (
        "silent hours and crowded ones",
        facts(post(), silent_until=NOW + HOUR, nearest=NOW),
        [(R.TIMING, WARNING, WHOLE_POST, "scheduled_time")] * 2,
    ),
    ("no money", facts(post(), budget="the day's budget is used up"), [(R.BUDGET, WARNING, WHOLE_POST, "")]),
    ("said an hour ago", facts(post(), likenesses=[said("hello", -HOUR)]), [(R.DUPLICATE, ERROR, 0, "text")]),
    ("said long ago", facts(post(), likenesses=[said("hello", -12 * HOUR)]), []),
    (
        "said long ago by another bot",
        facts(post(), likenesses=[said("hello", -100 * HOUR, ours=False)]),
        [(R.DUPLICATE, ERROR, 0, "text")],
    ),
    (
        "the bot's own word on repeats",
        facts(post(), bot=replace(BOT, policy={"repeat_cool_down": "60s"}), likenesses=[said("hello")]),
        [],
    ),
    ("a part like another", facts(post("one", "Two ", "two")), [(R.DUPLICATE, ERROR, 2, "text")]),
    (
        "nearly the same",
        facts(post(LONG), likenesses=[said(LONG.replace("noon", "nine"), same=False)]),
        [(R.NEAR_DUPLICATE, WARNING, 0, "text")],
    ),
    (
        "the same is not also nearly the same",
        facts(post(LONG), likenesses=[said(LONG), said(LONG + "!", same=False)]),
        [(R.DUPLICATE, ERROR, 0, "text")],
    ),
    (
        "a band in common is no proof",
        facts(post(LONG), likenesses=[said("Something else that happens to share a band.", same=False)]),
        [],
    ),
]


@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_rule_finds_what_it_is_for(
    given: Facts, expected: list[tuple[PolicyRule, Severity, int, str]]
) -> None:
    """What X refuses is an error by default, what may be all right a warning, and the field is named."""
    assert found(given) == expected


def test_every_rule_but_that_of_templates_is_checked_and_set() -> None:
    """A rule of the contract that nobody checks would be a promise that nobody keeps."""
    assert set(CHECKS) == set(PolicyRule) - {PolicyRule.TEMPLATE} == set(DEFAULTS)


def test_findings_say_what_cures_them() -> None:
    """Each is a sentence with a way out, none shows a placeholder."""
    findings: list[Finding] = [one for _, given, _ in CASES for one in lint(given, DEFAULTS)]
    assert findings
    for finding in findings:
        assert "{" not in finding.message
        assert finding.rule is PolicyRule.BUDGET or any(mark in finding.message for mark in (";", ","))
    [near] = lint(facts(post(LONG), likenesses=[said(LONG.replace("noon", "nine"), same=False)]), DEFAULTS)
    assert near.other_post_id == "other"


def test_errors_come_first_and_settings_weigh() -> None:
    """Whoever reads only the first finding reads why the post is refused; a rule that is off is silent."""
    given = facts(post("hi @stranger $A $B"))
    assert [one.rule for one in lint(given, DEFAULTS)] == [R.CASHTAGS, R.MENTIONS]
    strict = Policy.of().severities | {R.MENTIONS: ERROR, R.CASHTAGS: None}
    assert [(one.rule, one.severity) for one in lint(given, strict)] == [(R.MENTIONS, ERROR)]
    assert set(errors_only(strict).values()) == {ERROR}


def test_what_may_be_all_right_never_refuses() -> None:
    """A quote of an app whose tier is not known here stays a warning, however strict the setting."""
    [finding] = lint(facts(post(quote_x_post_id="1")), {R.UNAVAILABLE_FEATURE: ERROR})
    assert finding.severity is WARNING


def test_a_refusal_names_rule_and_field() -> None:
    """In the short form of the first part where the post has only one."""
    findings = lint(facts(post("fine", "a" * 281)), DEFAULTS)
    with pytest.raises(FailedPrecondition) as refused:
        refuse(findings)
    assert (refused.value.reason, refused.value.violations[0].field) == (
        "POLICY_VIOLATION",
        "post.parts[1].text",
    )
    assert refused.value.metadata["rule"] == "TOO_LONG"
    with pytest.raises(FailedPrecondition) as refused:
        refuse(lint(facts(post("a" * 281)), DEFAULTS), single=True)
    assert refused.value.violations[0].field == "post.text"
