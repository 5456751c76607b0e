"""The one place where the service's concrete classes meet."""

from datetime import datetime, timedelta
from functools import partial
from secrets import randbelow

from mesh.ids import new_id
from mesh.process import Process
from services.bot_manager.connect.addresses import Addresses
from services.bot_manager.connect.flow import ConnectFlow
from services.bot_manager.connect.sealing import KIND as CONNECT_KIND
from services.bot_manager.domain.apps import Apps
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.importing import Imports
from services.bot_manager.domain.making import Maker
from services.bot_manager.domain.model import Bot
from services.bot_manager.domain.pacing import Pace
from services.bot_manager.domain.posts import Posts
from services.bot_manager.domain.previewing import Previews
from services.bot_manager.domain.quota import Quotas
from services.bot_manager.domain.reserving import Terms
from services.bot_manager.domain.resolving import Resolving
from services.bot_manager.domain.schedules import Schedules
from services.bot_manager.domain.slots import SlotFinder
from services.bot_manager.domain.templates import TemplateComposer
from services.bot_manager.domain.templating.choosing import SEED_LIMIT
from services.bot_manager.domain.windows import silent_until
from services.bot_manager.events.assembly import assemble as assemble_events
from services.bot_manager.feeds.assembly import assemble as assemble_feeds
from services.bot_manager.housekeeping import prune
from services.bot_manager.media.assembly import assemble as assemble_media
from services.bot_manager.money import settings as money
from services.bot_manager.money.counting import Counter
from services.bot_manager.money.keys import MeshAppSecrets
from services.bot_manager.money.prices import Prices
from services.bot_manager.policy.inspector import PolicyInspector
from services.bot_manager.policy.settings import DEFINITIONS as POLICY_DEFINITIONS
from services.bot_manager.policy.settings import Policy
from services.bot_manager.publishing.assembly import assemble as assemble_publishing
from services.bot_manager.publishing.settings import Publish
from services.bot_manager.schedules.assembly import assemble as assemble_schedules
from services.bot_manager.schedules.checking import ContentChecker
from services.bot_manager.schedules.expansion import silences_of
from services.bot_manager.sealing import MeshSealer
from services.bot_manager.secrets import MeshSecretKeeper
from services.bot_manager.servicers.apps import AppServicer
from services.bot_manager.servicers.bots import BotServicer
from services.bot_manager.servicers.posts import PostServicer
from services.bot_manager.servicers.quota import QuotaServicer
from services.bot_manager.servicers.schedules import ScheduleServicer
from services.bot_manager.servicers.statistics import StatisticsServicer
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.servicers.webhooks import WebhookServicer
from services.bot_manager.settings import MAX_LATENESS, BotManagerSettings
from services.bot_manager.statistics.cadence import Cadence
from services.bot_manager.statistics.fetcher import Fetcher
from services.bot_manager.statistics.settings import FOLLOW_DAYS
from services.bot_manager.store.apps import PostgresApps
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.connects import PostgresOAuthConnects
from services.bot_manager.store.imports import PostgresImports
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.metric_lists import PostgresMetricLists
from services.bot_manager.store.metrics import PostgresMetrics
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.quota import PostgresQuota
from services.bot_manager.store.reading_times import PostgresReadingTimes
from services.bot_manager.store.schedules import PostgresSchedules
from services.bot_manager.store.similarity import PostgresLikenesses
from services.bot_manager.store.surroundings import PostgresSurroundings
from services.bot_manager.tokens.clients import MeshClientKeys
from services.bot_manager.tokens.endpoint import HttpTokenEndpoint
from services.bot_manager.webhooks.assembly import assemble as assemble_webhooks
from services.bot_manager.x.tweepy_port import TweepyPort
from vivesphere.bot_manager.v1.app_service_pb2_grpc import add_AppServiceServicer_to_server
from vivesphere.bot_manager.v1.bot_service_pb2_grpc import add_BotServiceServicer_to_server
from vivesphere.bot_manager.v1.media_service_pb2_grpc import add_MediaServiceServicer_to_server
from vivesphere.bot_manager.v1.post_service_pb2_grpc import add_PostServiceServicer_to_server
from vivesphere.bot_manager.v1.quota_service_pb2_grpc import add_QuotaServiceServicer_to_server
from vivesphere.bot_manager.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from vivesphere.bot_manager.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from vivesphere.bot_manager.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub


async def assemble(process: Process) -> None:
    """Puts the service together on `process`."""
    bootstrap = BotManagerSettings()
    value, clock, pages = process.configuration.value, process.clock, process.page_secret()
    process.define_settings(MAX_LATENESS, FOLLOW_DAYS, *money.DEFINITIONS)

    def terms() -> Terms:
        return money.terms_of(process.configuration.view(money.Money))

    bots = PostgresBots(process.database, process.instance)
    posts = PostgresPosts(process.database, process.instance)
    ledger = PostgresLedger(process.database, process.instance, terms)
    apps = PostgresApps(process.database, clock)
    quota = PostgresQuota(process.database, terms, clock)
    metrics = PostgresMetrics(process.database)
    secrets = BotSecretServiceStub(process.channel("secure_bot_data"))
    x = TweepyPort(
        bootstrap.x_api_url,
        request_timeout=lambda: timedelta(seconds=process.configuration.view(Publish).request_timeout),
        clock=clock,
    )
    process.stack.push_async_callback(x.close)

    counter = Counter(quota, clock)
    process.stack.push_async_callback(counter.flush)
    process.tasks.spawn_loop(counter.run, name="call counter")
    keys = MeshClientKeys(apps, secrets)
    endpoint = HttpTokenEndpoint(x.http, keys, clock)
    media = assemble_media(process, bots=bots, x=x, count=counter.count)
    feeds = assemble_feeds(process)
    process.define_settings(*POLICY_DEFINITIONS)
    prices = Prices(apps, quota, terms, clock)
    inspector = PolicyInspector(
        PostgresLikenesses(process.database),
        PostgresSurroundings(process.database),
        prices,
        lambda: process.configuration.view(Policy),
        media=media.shelf,
        apps=prices,
        budgets=prices,
        windows=_silent_until,
    )
    maker = Maker(media.shelf, TemplateComposer(partial(randbelow, SEED_LIMIT)), inspector)

    def lateness() -> timedelta:
        return timedelta(seconds=value(MAX_LATENESS))

    expander = assemble_schedules(
        process, maker=maker, lateness=lateness, feeds=feeds.wake, wake=lambda: publisher.wake()
    )
    publisher = assemble_publishing(
        process,
        ledger=ledger,
        bots=bots,
        x=x,
        endpoint=endpoint,
        secrets=secrets,
        uploader=media.uploader,
        count=counter.count,
        ready=expander.ready,
    )

    def wake() -> None:
        """A bot may speak again, or has something to say."""
        publisher.wake()
        expander.wake()

    process.tasks.spawn_loop(
        lambda: prune(process.database, media.library, media.keep, clock), name="housekeeping"
    )

    bot_cases = Bots(bots, clock, new_id)
    credentials = Credentials(bots, MeshSecretKeeper(secrets, publisher), x, apps, clock, counter.count)
    post_cases = Posts(posts, bots, clock, new_id, lateness, maker)
    previews = Previews(maker, bots, clock, SlotFinder(posts))
    imports = Imports(
        PostgresImports(process.database, process.instance), bots, clock, new_id, lateness, maker
    )
    resolving = Resolving(posts, bots, clock, lateness)
    app_cases = Apps(apps, MeshAppSecrets(secrets), clock, new_id)
    fetcher = Fetcher(metrics, x, publisher.leases, clock, counter.count)

    connecting = ConnectFlow(
        bots,
        PostgresOAuthConnects(process.database),
        apps,
        keys,
        endpoint,
        credentials,
        MeshSealer(secrets, CONNECT_KIND),
        Addresses(bootstrap.x_authorize_url, bootstrap.public_url),
        clock,
        new_id,
    )
    bot_servicer = BotServicer(bot_cases, credentials, connecting, pages, stopped=publisher.stop, wake=wake)
    process.serve(add_BotServiceServicer_to_server, bot_servicer)
    watching = Watching(assemble_events(process), bots, pages)
    post_servicer = PostServicer(
        post_cases,
        pages,
        previews=previews,
        imports=imports,
        resolving=resolving,
        watching=watching,
        wake=publisher.wake,
    )
    process.serve(add_PostServiceServicer_to_server, post_servicer)
    times, lists = PostgresReadingTimes(process.database), PostgresMetricLists(process.database)
    cadence = Cadence(times, fetcher, lambda: timedelta(days=value(FOLLOW_DAYS)), clock)
    process.tasks.spawn_loop(cadence.run, name="statistics")
    process.serve(
        add_StatisticsServiceServicer_to_server,
        StatisticsServicer(bots, posts, metrics, lists, times, fetcher, clock, pages),
    )
    process.serve(
        add_AppServiceServicer_to_server,
        AppServicer(app_cases, pages, public_url=bootstrap.public_url, wake=publisher.wake),
    )
    schedules = Schedules(
        PostgresSchedules(process.database, process.instance),
        bots,
        ContentChecker(maker),
        silences_of,
        clock,
        new_id,
    )
    process.serve(
        add_ScheduleServiceServicer_to_server, ScheduleServicer(schedules, pages, wake=expander.wake)
    )
    process.serve(add_QuotaServiceServicer_to_server, QuotaServicer(Quotas(bots, apps, quota, terms, clock)))
    process.serve(add_MediaServiceServicer_to_server, media.servicer)
    webhooks = WebhookServicer(assemble_webhooks(process, secrets), pages)
    process.serve(add_WebhookServiceServicer_to_server, webhooks)


def _silent_until(bot: Bot, at: datetime) -> datetime | None:
    """The end of the black-out window of the bot that `at` lies in."""
    pace = Pace.of(bot)
    return silent_until(pace.windows, pace.zone, at)
