"""The publisher's steps against a model of X, in any order that workers, reapers, late answers and people may bring about."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.bot_manager.domain import ledger, rules
from services.bot_manager.domain.model import (
    Answer,
    Attempt,
    AttemptOutcome,
    Bot,
    BotState,
    Change,
    Entry,
    EntryKind,
    PartState,
    Post,
    PostState,
)
from services.bot_manager.domain.resolving import Resolution, Word, resolve
from services.bot_manager.store.ports import Finish, Intent, Refusal, Release

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LATENESS = timedelta(days=1)
PARTS = 2
LOOK = Entry(EntryKind.RECONCILE_READ, "looked", state=PostState.UNKNOWN)


@dataclass
class Call:
    """A call to X that was begun: what X made of it, and whether the ledger was told."""

    attempt: Attempt
    x_post_id: str
    answer: Answer | None = None


@dataclass
class Account:
    """What X shows, by part."""

    posts: dict[int, list[str]] = field(default_factory=dict)


class PublishOnce(RuleBasedStateMachine):
    """At most one post on X for each part, unless a person said that X does not have it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.bot = Bot("b", "acme", BotState.ACTIVE, START, START)
        draft = Post("p", "b", PostState.DRAFT, (), START, START)
        parts = tuple(rules.Part(index, f"text {index}") for index in range(PARTS))
        self.post = rules.create(replace(draft, parts=parts), START, LATENESS).post
        self.account = Account()
        self.calls: list[Call] = []
        self.fences: list[int] = []
        self.ids = 0
        self.called_off = False

    def apply(self, change: Change | None) -> bool:
        if change is not None:
            self.post = change.post
        return change is not None

    @precondition(lambda self: self.post.state is PostState.SCHEDULED)
    @rule()
    def claim_and_take(self) -> None:
        claimed = ledger.claim(self.post, "claimer", self.now, LEASE)
        fence = claimed.post.claim_fence
        assert fence > max(self.fences, default=0)
        self.apply(claimed)
        assert self.apply(ledger.take(self.post, fence, "worker", self.now, LEASE))
        assert ledger.take(self.post, fence, "second delivery", self.now, LEASE) is None
        self.fences += [fence, self.post.claim_fence]

    @precondition(lambda self: bool(self.fences))
    @rule(data=st.data(), taken=st.booleans())
    def worker_calls_x(self, data: st.DataObject, taken: bool) -> None:
        """Any worker that ever had a fence may wake up and try."""
        fence = data.draw(st.sampled_from([*self.fences[-3:], *[self.post.claim_fence] * 5]))
        ahead = self.post.next_part
        part = data.draw(st.sampled_from([0, 1, *[ahead.index if ahead else 0] * 6]))
        begun = ledger.begin(
            self.post, self.bot, Intent("p", part, fence, "hash"), f"a{len(self.calls)}", self.now, LEASE
        )
        if isinstance(begun, Refusal):
            return
        change, attempt = begun
        self.apply(change)
        self.ids += 1
        call = Call(attempt, str(self.ids))
        self.calls.append(call)
        if taken:
            self.account.posts.setdefault(part, []).append(call.x_post_id)
            call.answer = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id=call.x_post_id)
        else:
            call.answer = Answer(AttemptOutcome.NOT_SENT)

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data(), heard=st.booleans())
    def answer_is_told(self, data: st.DataObject, heard: bool) -> None:
        """At once, late, twice, or without having heard what X said."""
        call = data.draw(st.sampled_from(self.calls))
        answer = call.answer if heard and call.answer else Answer(AttemptOutcome.UNKNOWN)
        self.apply(ledger.finish(self.post, Finish(call.attempt, answer), self.now, LEASE))

    @precondition(lambda self: self.post.lease_end_time is not None)
    @rule(over=st.booleans())
    def reaper_comes(self, over: bool) -> None:
        if over:
            self.now += LEASE
        self.apply(ledger.end_lease(self.post, self.now))

    @precondition(lambda self: self.post.state is PostState.CLAIMED)
    @rule(data=st.data())
    def worker_gives_back(self, data: st.DataObject) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        self.apply(ledger.release(self.post, Release("p", fence, self.now, "X_RATE_LIMITED", ""), self.now))

    @precondition(lambda self: self.post.state is PostState.UNKNOWN)
    @rule(data=st.data(), clean=st.booleans(), asks=st.booleans())
    def account_is_read(self, data: st.DataObject, clean: bool, asks: bool) -> None:
        """A clean look tells the truth: what is there is adopted, what is not goes out again or is a person's to settle. Any process
        may look, also one that read the post long ago."""
        part = self.post.next_part
        assert part is not None
        current = self.post.claim_fence
        fence = data.draw(st.sampled_from([*self.fences[-3:], *[current] * 5]))
        found = self.account.posts.get(part.index)
        if found and clean:
            change = ledger.adopt(self.post, fence, part.index, found[0], self.now, self.now, LOOK)
        elif clean and not asks:
            change = ledger.send_again(self.post, fence, self.now, LOOK)
        else:
            again = None if clean else self.now + LEASE
            change = ledger.note_reconcile(self.post, fence, LOOK, again)
        assert self.apply(change) is (fence == current)
        assert change is None or change.entries[0] is LOOK

    @precondition(lambda self: self.post.state is PostState.UNKNOWN)
    @rule(gives_up=st.booleans())
    def person_settles_it(self, gives_up: bool) -> None:
        """Who has looked tells the truth."""
        part = self.post.next_part
        assert part is not None
        found = self.account.posts.get(part.index)
        resolution = Resolution.GIVE_UP if gives_up else Resolution.SEND_AGAIN
        word = Word(Resolution.PUBLISHED, "user", found[0]) if found else Word(resolution, "user")
        self.apply(resolve(self.post, word, self.now, LATENESS))
        assert self.post.state is not PostState.UNKNOWN

    @precondition(lambda self: self.post.state is PostState.SCHEDULED and not self.called_off)
    @rule()
    def person_calls_it_off(self) -> None:
        self.called_off = True
        self.apply(rules.cancel(self.post, "user", ""))

    @precondition(lambda self: self.post.state in (PostState.CANCELLED, PostState.FAILED, PostState.MISSED))
    @rule()
    def person_wants_it_again(self) -> None:
        self.apply(rules.retry(self.post, self.now, LATENESS, "user"))

    @invariant()
    def each_part_is_on_x_at_most_once(self) -> None:
        assert all(len(ids) == 1 for ids in self.account.posts.values())

    @invariant()
    def the_record_claims_nothing_that_is_not_on_x(self) -> None:
        for part in self.post.parts:
            if part.state is PartState.PUBLISHED:
                assert self.account.posts.get(part.index) == [part.x_post_id]
        done = all(part.state is PartState.PUBLISHED for part in self.post.parts)
        assert (self.post.state is PostState.PUBLISHED) is done

    @invariant()
    def a_lease_is_held_where_the_state_says_so(self) -> None:
        held = self.post.state in (PostState.CLAIMED, PostState.PUBLISHING)
        assert held is (self.post.lease_end_time is not None)
        assert self.post.state is not PostState.SCHEDULED or self.post.due_time is not None

    @invariant()
    def parts_follow_their_post(self) -> None:
        states = [part.state for part in self.post.parts if part.state is not PartState.PUBLISHED]
        expected = {
            PostState.PUBLISHING: PartState.PUBLISHING,
            PostState.UNKNOWN: PartState.UNKNOWN,
        }.get(self.post.state)
        assert expected is None or states[0] is expected
        assert PartState.PUBLISHING not in states or self.post.state is PostState.PUBLISHING


TestPublishOnce = PublishOnce.TestCase
TestPublishOnce.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
