"""Where publishing's parts meet, and what the rest of the service may ask of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from mesh.clock import Clock
from mesh.configuration import Snapshot
from mesh.errors import Unavailable
from mesh.process import Process
from services.bot_manager.domain.limits import CallCount
from services.bot_manager.policy.settings import Policy
from services.bot_manager.publishing import metrics
from services.bot_manager.publishing.checks import Uploader
from services.bot_manager.publishing.claimer import Claimer
from services.bot_manager.publishing.destroying import SecretDestroyer
from services.bot_manager.publishing.ending import LeaseEnder
from services.bot_manager.publishing.gate import Gate
from services.bot_manager.publishing.leases import LeasedCredentials, Leases
from services.bot_manager.publishing.ledger import WorkerLedger
from services.bot_manager.publishing.looking import Looker
from services.bot_manager.publishing.policing import Policing
from services.bot_manager.publishing.reaper import Reaper
from services.bot_manager.publishing.reconciler import Reconciler
from services.bot_manager.publishing.rendered import Rendered
from services.bot_manager.publishing.sender import Sender
from services.bot_manager.publishing.settings import DEFINITIONS, Publish, PublishSettings
from services.bot_manager.publishing.timing import Timing
from services.bot_manager.publishing.worker import Worker
from services.bot_manager.store.lease_endings import PostgresLeaseEndings
from services.bot_manager.store.pacing import PostgresPace
from services.bot_manager.store.ports import BotStore, PostLedger
from services.bot_manager.store.publishing import PostgresPublishingQueries
from services.bot_manager.store.reconciling import PostgresReconciling
from services.bot_manager.store.secret_destructions import PostgresSecretDestructions
from services.bot_manager.store.similarity import PostgresLikenesses
from services.bot_manager.store.surroundings import PostgresSurroundings
from services.bot_manager.tokens.endpoint import HttpTokenEndpoint
from services.bot_manager.tokens.fresh import FreshTokens
from services.bot_manager.tokens.keeping import MeshPairKeeper
from services.bot_manager.tokens.refresher import TokenRefresher
from services.bot_manager.tokens.settings import REFRESH_BEFORE
from services.bot_manager.x.port import XPort

NEED: Final = timedelta(seconds=10)
"""How long credentials last at least that are lent to other parts of the service."""
FIRST_WORD: Final = timedelta(seconds=5)
"""How long the first post may wait for configuration to answer; then publishing begins with what is known."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """What servicers may ask of publishing."""

    claimer: Claimer
    leases: Leases
    gate: Gate
    ender: LeaseEnder
    destroyer: SecretDestroyer

    def wake(self) -> None:
        """A post may be due: call after the commit that made it so."""
        self.claimer.wake()

    def forget(self, bot_id: str) -> None:
        """The bot's credentials were replaced."""
        self.leases.forget(bot_id)
        self.gate.reopen(bot_id)

    def stop(self, bot_id: str) -> None:
        """The bot was stopped: call after the commit that did it."""
        self.forget(bot_id)
        self.ender.wake()
        self.destroyer.wake()

    async def lease(self, bot_id: str, reason: str) -> LeasedCredentials:
        """The bot's credentials for a call that reads. Raises as `Leases.get`."""
        return await self.leases.get(bot_id, reason, NEED)


class OverdueCheck:
    """For health: whether posts go out when they should."""

    def __init__(self, ledger: PostLedger, settings: Callable[[], PublishSettings], clock: Clock) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._late_seconds = 0.0
        self._enabled = True

    def facts(self) -> dict[str, int]:
        """As of the last look: how late the oldest due post of an active bot is, and whether publishing is switched on."""
        return {"oldestOverdueSeconds": int(self._late_seconds), "enabled": int(self._enabled)}

    async def __call__(self) -> None:
        """Raises Unavailable while the oldest due post of an active bot waits longer than the setting, unless publishing is off."""
        settings, now = self._settings(), self._clock.now()
        due = await self._ledger.oldest_overdue(now)
        late = timedelta() if due is None else now - due
        self._late_seconds, self._enabled = late.total_seconds(), settings.enabled
        metrics.oldest_overdue_seconds.set(late.total_seconds())
        # Switched off on purpose is no fault.
        if settings.enabled and late > settings.overdue_alarm:
            raise Unavailable(
                "PUBLISHING_OVERDUE",
                "posts that are due do not go out",
                metadata={"oldestOverdueSeconds": str(int(late.total_seconds()))},
            )


class _Current:
    """The settings of the moment; what follows from them is worked out once for each snapshot, since every post asks."""

    def __init__(self, view: Callable[[], Publish]) -> None:
        self._view = view
        self._known: tuple[Snapshot, PublishSettings] | None = None

    def __call__(self) -> PublishSettings:
        view = self._view()
        if self._known is None or self._known[0] is not view.snapshot:
            self._known = view.snapshot, PublishSettings.of(view)
        return self._known[1]


def assemble(
    process: Process,
    *,
    ledger: PostLedger,
    bots: BotStore,
    x: XPort,
    endpoint: HttpTokenEndpoint,
    secrets: Any,
    uploader: Callable[[Callable[[], PublishSettings]], Uploader],
    count: CallCount,
    ready: Callable[[], bool] = lambda: True,
) -> Publisher:
    """Define the settings and start the loops. `secrets` is a stub of BotSecretService, `uploader` is told the settings, `count` of calls
    that read; nothing is claimed until `ready`."""
    process.define_settings(*DEFINITIONS, REFRESH_BEFORE)
    configuration = process.configuration

    settings = _Current(lambda: configuration.view(Publish))

    clock = process.clock
    queries = PostgresPublishingQueries(process.database)
    tokens = FreshTokens(
        bots,
        TokenRefresher(MeshPairKeeper(secrets, clock), endpoint, process.tasks, clock),
        lambda: timedelta(seconds=configuration.value(REFRESH_BEFORE)),
        clock,
    )
    leases = Leases(secrets, process.tasks, clock, tokens)
    gate = Gate()

    def can_claim() -> bool:
        return process.messaging.connected and ready()

    claimer = Claimer(ledger, queries, process.instance, settings, can_claim, clock)
    worker_ledger = WorkerLedger(ledger, process.instance, lambda: settings().lease, clock)
    likenesses = PostgresLikenesses(process.database)
    is_own = PostgresSurroundings(process.database).is_own
    policing = Policing(likenesses, is_own, worker_ledger.note, lambda: configuration.view(Policy), clock)
    sender = Sender(
        worker_ledger,
        queries,
        bots,
        x,
        leases,
        gate,
        settings,
        clock,
        checks=(Rendered(clock), policing, Timing(PostgresPace(process.database), clock)),
        uploader=uploader(settings),
    )

    def sweep() -> None:
        leases.sweep()
        gate.sweep(clock.now())

    async def work() -> None:
        await configuration.heard(FIRST_WORD)  # this many in flight for as long as the process runs
        await Worker(process.messaging, sender, configuration.view(Publish).max_in_flight).run()

    ender = LeaseEnder(PostgresLeaseEndings(process.database), secrets, leases.forget, clock)
    destroyer = SecretDestroyer(PostgresSecretDestructions(process.database), secrets, endpoint, clock)
    looker = Looker(x, leases, settings, clock, count)
    reconciler = Reconciler(
        ledger,
        PostgresReconciling(process.database),
        looker,
        process.instance,
        settings,
        clock,
        claimer.wake,
    )
    overdue = OverdueCheck(ledger, settings, clock)
    process.health.add("publishing", overdue, facts=overdue.facts)
    process.tasks.spawn_loop(claimer.run, name="claimer")
    process.tasks.spawn_loop(policing.run, name="policing")
    process.tasks.spawn_loop(Reaper(ledger, sweep, clock).run, name="reaper")
    process.tasks.spawn_loop(work, name="publisher")
    process.tasks.spawn_loop(reconciler.run, name="reconciler")
    process.tasks.spawn_loop(ender.run, name="lease ender")
    process.tasks.spawn_loop(destroyer.run, name="secret destroyer")
    return Publisher(claimer, leases, gate, ender, destroyer)
