"""Puts the service together: the one place where its concrete classes meet."""

from datetime import timedelta

from mesh.ids import new_id
from mesh.messaging.hints import Hints
from mesh.process import Process
from mesh.version import VERSION
from services.configuration.accounts import AccountRoles
from services.configuration.catalogue import read_catalogue, read_methods
from services.configuration.domain.change_book import ChangeBook, Terms
from services.configuration.domain.changes import Author
from services.configuration.domain.retention import Retention
from services.configuration.domain.role_book import RoleBook
from services.configuration.domain.settings_book import SettingsBook
from services.configuration.domain.transfer_book import TransferBook
from services.configuration.driver import Driver
from services.configuration.explaining import Explainer
from services.configuration.feed import Feed
from services.configuration.housekeeping import Housekeeping
from services.configuration.presence import Presence
from services.configuration.servicers.roles import RoleServicer
from services.configuration.servicers.settings import SettingsServicer
from services.configuration.servicers.watch import WatchServicer
from services.configuration.settings import (
    APPROVAL_LIFETIME,
    DEFINITIONS,
    KEEP_DAYS,
    KEEP_REVISIONS,
    POLL_SECONDS,
)
from services.configuration.store.compaction import PostgresCompaction
from services.configuration.store.instance_calls import PostgresInstanceCalls
from services.configuration.store.instances import PostgresInstances
from services.configuration.store.postgres import PostgresStore
from services.configuration.watching import Watching
from vivesphere.authentication.v1 import user_service_pb2_grpc
from vivesphere.configuration.v1 import (
    role_service_pb2_grpc,
    settings_service_pb2_grpc,
    watch_service_pb2_grpc,
)

HINTS = "hints.configuration"
SELF = Author("service:configuration", "built-in roles of this release")


async def assemble(process: Process) -> None:
    """Store → feed and its loops → books → servicers. The service watches itself through its own port, like everybody."""
    process.define_settings(*DEFINITIONS)
    store = PostgresStore(process.database, process.audit)
    instances, calls = PostgresInstances(process.database), PostgresInstanceCalls(process.database)
    feed = Feed(
        store,
        process.clock,
        lambda: timedelta(seconds=process.configuration.value(POLL_SECONDS)),
        # Whoever has no roles yet says "not yet" to callers; whoever was shown a history without roles would say "no".
        begun=lambda head: bool(head.built_in_release),
    )
    hints = Hints(process.messaging, HINTS, feed.wake)
    presence = Presence(instances, process.clock)
    catalogue, secret = read_catalogue(), process.page_secret()
    users = user_service_pb2_grpc.UserServiceStub(process.channel("authentication"))
    explainer = Explainer(store, catalogue, read_methods(), AccountRoles(users))
    terms = Terms(
        process.clock.now,
        new_id,
        lambda: timedelta(seconds=process.configuration.value(APPROVAL_LIFETIME)),
    )
    settings = SettingsBook(store, hints.announce, terms)
    changes = ChangeBook(store, hints.announce, terms)
    transfers = TransferBook(store, hints.announce, settings)
    driver = Driver(changes, instances, calls, process.clock)
    roles = RoleBook(store, catalogue, hints.announce, new_id)
    watching = Watching(store, feed, process.clock)

    def retention() -> Retention:
        value = process.configuration.value
        return Retention(value(KEEP_REVISIONS), timedelta(days=value(KEEP_DAYS)))

    housekeeping = Housekeeping(PostgresCompaction(process.database), retention, process.clock)

    async def tell() -> None:
        await roles.ensure_built_in(VERSION, SELF)
        await feed.run()

    async def end_streams() -> None:
        await process.stopping.wait()
        feed.close()

    process.tasks.spawn(end_streams(), name="end streams")
    process.tasks.spawn_loop(tell, name="history feed")
    process.tasks.spawn_loop(hints.run, name="hints")
    process.tasks.spawn_loop(presence.run, name="presence")
    process.tasks.spawn_loop(housekeeping.run, name="housekeeping")
    process.tasks.spawn_loop(driver.run, name="changes of settings")
    process.serve(
        settings_service_pb2_grpc.add_SettingsServiceServicer_to_server,
        SettingsServicer(settings, changes, transfers, watching, process.configuration, secret),
    )
    process.serve(
        role_service_pb2_grpc.add_RoleServiceServicer_to_server,
        RoleServicer(roles, catalogue, explainer, secret),
    )
    process.serve(
        watch_service_pb2_grpc.add_WatchServiceServicer_to_server,
        WatchServicer(settings, watching, feed, instances, presence, calls, driver, process.clock),
    )
