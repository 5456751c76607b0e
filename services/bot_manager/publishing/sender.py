"""One post's way from a claim to X, and back into the record.

    take → for each part that is not on X yet:
        kill switch → gate → checks → is the bot still active? → secret → media → kill switch → intent committed → enough of the lease
        left? → X → outcome committed

The order is the guarantee. Up to the intent nothing has happened: whatever fails gives the post back. After the intent only what X says
decides, and what it said is written until it is written: as long as this process lives, an answer is never dropped because the database
was away. If the process dies in between, the lease ends and the post becomes UNKNOWN. Nothing here sends a part twice under one intent,
and nothing that goes wrong after X has taken a part can fail it.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, NotFound
from mesh.tasks import Backoff
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.model import Attempt, AttemptOutcome, Bot, BotState, Part, Post, PostState
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind, not_sent
from services.bot_manager.domain.retry import Decision, Hold, Scope, answer_of, decide, put_off
from services.bot_manager.publishing import metrics
from services.bot_manager.publishing.checks import SWITCHED_OFF, Check, GiveUp, PutOff, Uploaded, Uploader
from services.bot_manager.publishing.draft import draft_of
from services.bot_manager.publishing.gate import Gate
from services.bot_manager.publishing.leases import LeasedCredentials, Leases
from services.bot_manager.publishing.ledger import WorkerLedger
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.store.ports import BotStore, Claim, Finish, Intent, Refusal, Release, Wait
from services.bot_manager.store.publishing import PublishingQueries
from services.bot_manager.tokens.fresh import ASK_A_PERSON, DEAD
from services.bot_manager.x.body import request_hash
from services.bot_manager.x.port import XPort, XPostDraft

if TYPE_CHECKING:
    from loguru import Logger

SLACK: Final = timedelta(seconds=1)
"""What has to be left of a lease beyond the time limit of the call."""
KEEP_TRYING: Final = timedelta(minutes=15)
"""How long an outcome is kept in memory while the database is away; the post is UNKNOWN by then, and a late answer settles it."""
WRITE_AGAIN: Final = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
STOPS: Final = {
    "X_CREDENTIALS_REJECTED": BotEvent.REFUSE_CREDENTIALS,
    "X_ACCOUNT_SUSPENDED": BotEvent.SUSPEND,
}
"""What X says of the account while media are brought to it, and what that means for the bot."""
NEEDS_HISTORY: Final = frozenset({OutcomeKind.NOT_SENT, OutcomeKind.DUPLICATE})


@dataclass(frozen=True, slots=True)
class _Call:
    """One call to X that has been made: everything its outcome is judged with."""

    post: Post
    bot: Bot
    part: Part
    attempt: Attempt
    leased: LeasedCredentials
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sender:
    """See the module. `chance` gives a number in [0, 1)."""

    ledger: WorkerLedger
    queries: PublishingQueries
    bots: BotStore
    x: XPort
    leases: Leases
    gate: Gate
    settings: Callable[[], PublishSettings]
    clock: Clock
    checks: Sequence[Check] = ()
    uploader: Uploader | None = None
    chance: Callable[[], float] = random.random

    async def publish(self, claim: Claim) -> None:
        """Send what is left of the post. Returns when nothing more is to be done now; raises MeshError if the record cannot be reached."""
        held = await self.ledger.take(claim)
        if held is None:
            logger.bind(post_id=claim.post_id).debug("post has moved on")
            return
        logger.bind(post_id=claim.post_id, fence=held.post.claim_fence).debug("post claimed")
        post = held.post
        while (part := post.next_part) is not None:
            try:
                after = await self._send(post, held.bot, part)
            except MeshError as error:
                await self._hand_back(post, error)
                raise
            if after is None:
                return
            post = after

    async def _send(self, post: Post, bot: Bot, part: Part) -> Post | None:
        """Send one part. The post as it is afterwards if this worker still holds it, else None."""
        settings = self.settings()
        if await self._switched_off(post, settings):
            return None
        hold = self.gate.hold(bot, self.clock.now())
        if hold is not None:
            await self._release(post, hold.until, hold.reason, hold.message)
            return None
        if await self._objected(post, bot, part):
            return None
        need = settings.request_timeout + SLACK
        if part.media_ids:
            need += settings.upload_slice
        if bot.state is not BotState.ACTIVE:
            # Its secret is not even asked for. The intent decides all the same: the bot may be stopped at any moment.
            await self._refused(post, Refusal.BOT_NOT_ACTIVE)
            return None
        try:
            leased = await self.leases.get(bot.id, f"publish post {post.id}", need)
        except MeshError as error:
            await self._without_secret(post, bot, error)
            return None
        uploaded = await self._media(post, bot, part, leased)
        if uploaded is None:
            return None
        if await self._switched_off(post, self.settings()):
            return None
        draft = draft_of(post, part, uploaded.x_media_ids)
        certain_until = _Deadline(self.clock, settings.lease)
        intent = Intent(post.id, part.index, post.claim_fence, request_hash(draft))
        begun = await self.ledger.begin(intent)
        if not isinstance(begun, Attempt):
            await self._refused(post, begun)
            return None
        outcome = await self._call(draft, leased, certain_until, settings.request_timeout)
        return await self._settle(_Call(post, bot, part, begun, leased, outcome))

    async def _hand_back(self, post: Post, error: MeshError) -> None:
        """Something that decides could not be asked. The next look finds the post sooner than the end of its lease would, if this can be
        written; where an intent was committed all the same, it stands, and nothing is given back.
        """
        now = self.clock.now()
        again = now + put_off(now - (post.scheduled_time or now), self.settings().rules, self.chance())
        with suppress(MeshError):
            await self._release(post, again, error.reason, "what decides on it could not be asked just now")

    async def _switched_off(self, post: Post, settings: PublishSettings) -> bool:
        """Whether publishing is, and the post has gone back."""
        if settings.enabled:
            return False
        await self._release(post, self.clock.now(), "INVALID_STATE", SWITCHED_OFF.message)
        return True

    async def _objected(self, post: Post, bot: Bot, part: Part) -> bool:
        """Whether a check has sent the post back."""
        for check in self.checks:
            verdict = await check(post, bot, part)
            if verdict is not None:
                await self._obey(post, verdict)
                return True
        return False

    async def _media(self, post: Post, bot: Bot, part: Part, leased: LeasedCredentials) -> Uploaded | None:
        """The part's media at X; None if the post has gone back."""
        if not part.media_ids or self.uploader is None:
            return Uploaded()
        try:
            uploaded = await self.uploader.upload(post, bot, part, leased.credentials)
        except MeshError as error:
            await self._without_media(post, bot, leased, error)
            return None
        if not isinstance(uploaded, Uploaded):
            if isinstance(uploaded, PutOff) and uploaded.reason == "X_CREDITS_DEPLETED":
                self.gate.close(bot, Hold(Scope.APP, uploaded.until, uploaded.reason, uploaded.message))
            await self._obey(post, uploaded)
            return None
        if uploaded.entries:
            await self.ledger.note(post, uploaded.entries)
        return uploaded

    async def _obey(self, post: Post, verdict: PutOff | GiveUp) -> None:
        if verdict.entries:
            await self.ledger.note(post, verdict.entries)
        if isinstance(verdict, PutOff):
            await self._release(post, verdict.until, verdict.reason, verdict.message)
            return
        await self.ledger.give_up(post, verdict.failure)
        logger.bind(post_id=post.id, reason=verdict.failure.reason).warning("post failed")

    async def _call(
        self, draft: XPostDraft, leased: LeasedCredentials, lease: "_Deadline", limit: timedelta
    ) -> Outcome:
        if not lease.leaves(limit + SLACK) or leased.end - self.clock.monotonic() < limit.total_seconds():
            # This process was paused, or the commit was slow: somebody else may hold the post by the time X answers.
            return not_sent("too little of the lease was left to begin")
        with metrics.call_seconds.time():
            return await self.x.create_post(leased.credentials, draft)

    async def _settle(self, call: _Call) -> Post | None:
        """Decide what follows and write it, whatever it takes. The post if this worker goes on with it."""
        metrics.attempts.labels(call.outcome.kind.value).inc()
        heard = self.clock.now()
        give_up = self.clock.monotonic() + KEEP_TRYING.total_seconds()
        failures = 0
        while True:
            try:
                decision = await self._decide(call, heard)
                await self._stop_bot(call, decision, heard)
                after = await self.ledger.finish(
                    Finish(
                        call.attempt,
                        decision.answer,
                        decision.next_time,
                        decision.failure,
                        decision.hold,
                    )
                )
            except MeshError as error:
                failures += 1
                if failures == 1:
                    _log(call).bind(reason=error.reason).warning("outcome waits to be written")
                if self.clock.monotonic() > give_up:
                    _log(call).bind(reason=error.reason).error("outcome was never written")
                    return None
                await self.clock.sleep(WRITE_AGAIN.pause(failures, self.chance()))
            else:
                _tell(call, decision, after, heard)
                return after if after is not None and after.state is PostState.CLAIMED else None

    async def _decide(self, call: _Call, heard: datetime) -> Decision:
        rules = self.settings().rules
        kind, attempt = call.outcome.kind, call.attempt
        if kind is OutcomeKind.CREDENTIALS_REJECTED:
            again = await self._with_other_credentials(call.bot, call.leased, heard)
            if again is not None:
                return Decision(answer_of(call.outcome), next_time=again)
        earlier: Sequence[AttemptOutcome | None] = ()
        if kind in NEEDS_HISTORY:
            # A person who says "again" grants all tries anew; whether X may have the text already is asked of all calls ever.
            since = call.post.attempts_before if kind is OutcomeKind.NOT_SENT else 0
            earlier = await self.queries.earlier_outcomes(
                attempt.post_id, attempt.part_index, attempt.number, since
            )
        decision = decide(call.outcome, call.part.index, earlier, heard, rules, self.chance())
        if decision.hold is not None:
            self.gate.close(call.bot, decision.hold)
        return decision

    async def _with_other_credentials(
        self, bot: Bot, leased: LeasedCredentials, heard: datetime
    ) -> datetime | None:
        """When to go on because there are credentials that X has not refused; None if there are none.

        A refusal proves that X did not take what was sent, so it goes again at once: somebody has replaced them, or the token was
        refreshed. Not knowing it is no reason to stop the bot.
        """
        self.leases.refuse(bot.id, leased.version)
        try:
            stored = await self.leases.get(bot.id, "X refused the credentials", SLACK)
        except MeshError as error:
            return None if error.reason in DEAD else heard + self.settings().rules.first_retry
        return None if stored.same_as(leased) else heard

    async def _stop_bot(self, call: _Call, decision: Decision, heard: datetime) -> None:
        if decision.bot_event is not None:
            await self._apply(call.bot, decision.bot_event, heard, decision.reason, decision.message)

    async def _apply(self, bot: Bot, event: BotEvent, now: datetime, reason: str, message: str) -> None:
        with suppress(NotFound):
            after = await self.bots.apply(bot.id, event, now, reason, message)
            if after.state is not bot.state:
                logger.bind(state=after.state.value, reason=reason).warning("bot stopped")

    async def _without_secret(self, post: Post, bot: Bot, error: MeshError) -> None:
        now = self.clock.now()
        if error.reason == "X_CREDENTIALS_REJECTED":
            await self._release(post, now, error.reason, ASK_A_PERSON)
            return
        if error.reason == "CREDENTIALS_MISSING":
            told = "the bot has no usable credentials; connect the account again"
            await self._apply(bot, BotEvent.REFUSE_CREDENTIALS, now, error.reason, told)
            await self._release(post, now, error.reason, told)
            return
        late = now - (post.scheduled_time or now)
        again = now + put_off(late, self.settings().rules, self.chance())
        told = f"the bot's secret could not be had just now: {error.message}"
        await self._release(post, again, error.reason, told)

    async def _without_media(self, post: Post, bot: Bot, leased: LeasedCredentials, error: MeshError) -> None:
        """Media could not be brought to X for a reason that is not theirs."""
        now, rules = self.clock.now(), self.settings().rules
        event = STOPS.get(error.reason)
        again = None
        if event is BotEvent.REFUSE_CREDENTIALS:
            again = await self._with_other_credentials(bot, leased, now)
        if event is not None and again is None:
            await self._apply(bot, event, now, error.reason, error.message)
            await self._release(post, now, error.reason, error.message)
            return
        again = again or now + put_off(now - (post.scheduled_time or now), rules, self.chance())
        await self._release(post, again, error.reason, "its media could not be brought to X just now")

    async def _refused(self, post: Post, refusal: Refusal | Wait) -> None:
        now = self.clock.now()
        match refusal:
            case Wait():
                await self._release(post, refusal.until, refusal.reason, refusal.message, refusal.operation)
            case Refusal.STALE:
                logger.bind(post_id=post.id).info("claim was lost")
            case Refusal.BOT_NOT_ACTIVE:
                await self._release(post, now, "INVALID_STATE", "the bot is not active; it waits for that")
            case Refusal.APP_PAUSED:
                await self._release(post, now, "INVALID_STATE", "the app is paused; it waits for that")
            case Refusal.TOO_LATE:
                await self._release(post, now, "DEADLINE_MISSED", "its latest time has passed")

    async def _release(
        self, post: Post, due_time: datetime, reason: str, message: str, operation: str = ""
    ) -> None:
        await self.ledger.release(Release(post.id, post.claim_fence, due_time, reason, message, operation))
        logger.bind(post_id=post.id, reason=reason, due_time=due_time.isoformat()).info("post put off")


class _Deadline:
    """The end of a lease that starts now, by both clocks: the monotonic one sees steps of the wall clock, the other a sleeping machine."""

    def __init__(self, clock: Clock, lease: timedelta) -> None:
        self._clock = clock
        self._monotonic = clock.monotonic() + lease.total_seconds()
        self._wall = clock.now() + lease

    def leaves(self, time: timedelta) -> bool:
        """Whether at least so much of the lease is left."""
        left = self._monotonic - self._clock.monotonic()
        return left >= time.total_seconds() and self._wall - self._clock.now() >= time


def _log(call: _Call) -> "Logger":
    outcome = call.outcome
    return logger.bind(
        post_id=call.post.id,
        part=call.part.index,
        attempt=call.attempt.number,
        outcome=outcome.kind.value,
        http_status=outcome.http_status,
        problem_type=outcome.problem_type,
        x_request_id=outcome.x_request_id,
        latency_ms=round(outcome.latency / timedelta(milliseconds=1)),
    )


def _tell(call: _Call, decision: Decision, after: Post | None, heard: datetime) -> None:
    """One line an attempt."""
    log = _log(call)
    if after is None:
        log.warning("answer came late")
    elif after.state is PostState.PUBLISHED:
        late = heard - (call.post.scheduled_time or heard)
        metrics.lateness_seconds.observe(late.total_seconds())
        log.bind(x_post_id=call.outcome.x_post_id, late_ms=round(late / timedelta(milliseconds=1))).info(
            "post published"
        )
    elif after.state is PostState.CLAIMED:
        log.bind(x_post_id=call.outcome.x_post_id).info("part published")
    elif after.state is PostState.UNKNOWN:
        log.warning("post outcome unknown")
    elif after.state is PostState.FAILED:
        log.bind(reason=after.failure.reason if after.failure else "").warning("post failed")
    else:
        due_time = decision.next_time.isoformat() if decision.next_time else ""
        log.bind(due_time=due_time).warning("post put off")
