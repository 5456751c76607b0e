"""The one place where the service's concrete classes meet."""

from datetime import timedelta

from mesh.ids import new_id
from mesh.process import Process
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.making import Maker, PlainComposer, PlainInspector, PlainShelf
from services.bot_manager.domain.posts import Posts
from services.bot_manager.events.assembly import assemble as assemble_events
from services.bot_manager.housekeeping import prune
from services.bot_manager.publishing.assembly import assemble as assemble_publishing
from services.bot_manager.publishing.settings import Publish
from services.bot_manager.secrets import MeshSecretKeeper
from services.bot_manager.servicers.bots import BotServicer
from services.bot_manager.servicers.posts import PostServicer
from services.bot_manager.servicers.statistics import StatisticsServicer
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.servicers.webhooks import WebhookServicer
from services.bot_manager.settings import MAX_LATENESS, BotManagerSettings
from services.bot_manager.statistics.cadence import Cadence
from services.bot_manager.statistics.fetcher import Fetcher
from services.bot_manager.statistics.settings import FOLLOW_DAYS
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.metric_lists import PostgresMetricLists
from services.bot_manager.store.metrics import PostgresMetrics
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.reading_times import PostgresReadingTimes
from services.bot_manager.webhooks.assembly import assemble as assemble_webhooks
from services.bot_manager.x.tweepy_port import TweepyPort
from vivesphere.bot_manager.v1 import (
    app_service_pb2_grpc,
    media_service_pb2_grpc,
    quota_service_pb2_grpc,
    schedule_service_pb2_grpc,
)
from vivesphere.bot_manager.v1.bot_service_pb2_grpc import add_BotServiceServicer_to_server
from vivesphere.bot_manager.v1.post_service_pb2_grpc import add_PostServiceServicer_to_server
from vivesphere.bot_manager.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from vivesphere.bot_manager.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub


async def assemble(process: Process) -> None:
    """Puts the service together on `process`."""
    value, clock, pages = process.configuration.value, process.clock, process.page_secret()
    process.define_settings(MAX_LATENESS, FOLLOW_DAYS)

    bots = PostgresBots(process.database, process.instance)
    posts = PostgresPosts(process.database, process.instance)
    ledger = PostgresLedger(process.database, process.instance)
    metrics = PostgresMetrics(process.database)
    secrets = BotSecretServiceStub(process.channel("secure_bot_data"))
    x = TweepyPort(
        BotManagerSettings().x_api_url,
        request_timeout=lambda: timedelta(seconds=process.configuration.view(Publish).request_timeout),
        clock=clock,
    )
    process.stack.push_async_callback(x.close)

    publisher = assemble_publishing(process, ledger=ledger, bots=bots, x=x, secrets=secrets)
    process.tasks.spawn_loop(lambda: prune(process.database, clock), name="housekeeping")

    bot_cases = Bots(bots, clock, new_id)
    credentials = Credentials(bots, MeshSecretKeeper(secrets, publisher), x, clock)
    maker = Maker(PlainShelf(), PlainComposer(), PlainInspector())
    post_cases = Posts(posts, bots, clock, new_id, lambda: timedelta(seconds=value(MAX_LATENESS)), maker)
    fetcher = Fetcher(metrics, x, publisher.leases, clock)

    bot_servicer = BotServicer(bot_cases, credentials, pages, stopped=publisher.stop, wake=publisher.wake)
    process.serve(add_BotServiceServicer_to_server, bot_servicer)
    watching = Watching(assemble_events(process), bots, pages)
    post_servicer = PostServicer(post_cases, pages, watching=watching, wake=publisher.wake)
    process.serve(add_PostServiceServicer_to_server, post_servicer)
    times, lists = PostgresReadingTimes(process.database), PostgresMetricLists(process.database)
    cadence = Cadence(times, fetcher, lambda: timedelta(days=value(FOLLOW_DAYS)), clock)
    process.tasks.spawn_loop(cadence.run, name="statistics")
    process.serve(
        add_StatisticsServiceServicer_to_server,
        StatisticsServicer(bots, posts, metrics, lists, times, fetcher, clock, pages),
    )
    webhooks = WebhookServicer(assemble_webhooks(process, secrets), pages)
    process.serve(add_WebhookServiceServicer_to_server, webhooks)
    _serve_the_rest(process)


def _serve_the_rest(process: Process) -> None:
    """Services of which no method is built yet: their callers are checked all the same, and told NOT_IMPLEMENTED."""
    process.serve(
        app_service_pb2_grpc.add_AppServiceServicer_to_server, app_service_pb2_grpc.AppServiceServicer()
    )
    process.serve(
        schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server,
        schedule_service_pb2_grpc.ScheduleServiceServicer(),
    )
    process.serve(
        media_service_pb2_grpc.add_MediaServiceServicer_to_server,
        media_service_pb2_grpc.MediaServiceServicer(),
    )
    process.serve(
        quota_service_pb2_grpc.add_QuotaServiceServicer_to_server,
        quota_service_pb2_grpc.QuotaServiceServicer(),
    )
