"""Where authentication's concrete parts meet."""

import hmac
from collections.abc import Awaitable, Callable
from functools import partial

from loguru import logger

from mesh.errors import MeshError
from mesh.identity.keys import KeySource
from mesh.messaging.hints import Hints
from mesh.paging import PageTokens
from mesh.process import Process
from mesh.settings import dns_name
from services.authentication import settings
from services.authentication.caller import CallTrail
from services.authentication.domain.accounts import Accounts
from services.authentication.domain.api_keys import ApiKeys
from services.authentication.domain.devices import DeviceTokens
from services.authentication.domain.first_user import FirstUser
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import Interventions
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.proving import Prover
from services.authentication.domain.second_factor import SecondFactors
from services.authentication.domain.server_secret import ServerSecret
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.grants import Grants
from services.authentication.housekeeping import Housekeeping
from services.authentication.own import KeyringAlarm, OwnApiKeys
from services.authentication.revocation_feed import RevocationFeed
from services.authentication.servicers.api_keys import ApiKeyServicer
from services.authentication.servicers.authentication import AuthenticationServicer, revocation_messages
from services.authentication.servicers.users import UserServicer
from services.authentication.store.postgres import PostgresStore
from services.authentication.store.sealing import TransitSealer
from vivesphere.authentication.v1.api_key_service_pb2_grpc import (
    add_ApiKeyServiceServicer_to_server,
)
from vivesphere.authentication.v1.authentication_service_pb2_grpc import (
    add_AuthenticationServiceServicer_to_server,
)
from vivesphere.authentication.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

REVOCATIONS = "events.authentication.revocation"


async def assemble(process: Process) -> None:
    """Settings → store → keys → hashing → first user → use cases → servicers."""
    bootstrap = settings.AuthenticationSettings()
    process.define_settings(*settings.DEFINITIONS)
    numbers, clock, trail = settings.Numbers(process.configuration), process.clock, CallTrail()
    feed = RevocationFeed(PostgresStore(process.database, process.audit), clock)
    hints = Hints(process.messaging, REVOCATIONS, feed.wake)
    store = PostgresStore(process.database, process.audit, hints.announce)
    sealer = TransitSealer(process.vault().transit(), dns_name(process.name))
    keyring = Keyring(store, sealer, numbers.signing_key_interval, clock)
    server_secret = ServerSecret(store, sealer, clock)
    api_keys = ApiKeys(store, numbers.api_keys, trail, clock)
    # This service knows keys, revocations and API keys by itself; asking itself over the network would only add a way to fail.
    process.keys = KeySource(keyring.document, clock)
    process.revocations = process.follow_revocations(partial(revocation_messages, feed))
    process.revocations.listen(KeyringAlarm(keyring))
    process.api_keys = OwnApiKeys(api_keys)
    hashing = HashingPool(bootstrap.hashing_threads, bootstrap.hashing_queue, numbers.hash_cost)
    process.stack.callback(hashing.close)
    first_user = FirstUser(store, hashing, bootstrap.first_password, clock)

    process.health.add("first_user", first_user.check, vital=True)
    process.health.add("signing_key", keyring.check)
    await _at_once(keyring.refresh, "signing key")
    await _at_once(server_secret.refresh, "server secret")
    await _at_once(feed.refresh, "revocations")
    await _at_once(first_user.ensure, "first user")
    process.tasks.spawn(keyring.run(), name="signing key")
    process.tasks.spawn(server_secret.run(), name="server secret")
    process.tasks.spawn(first_user.run(), name="first user")
    process.tasks.spawn_loop(feed.run, name="revocation feed")
    process.tasks.spawn_loop(hints.run, name="hints")
    process.tasks.spawn(_end_streams(process, feed), name="end streams")
    process.tasks.spawn(Housekeeping(store, clock).run(), name="housekeeping")

    issuer = Issuer(keyring, numbers.lifetimes, clock)
    prover = Prover(store, hashing, numbers.throttle, clock)
    factors = SecondFactors(store, sealer, prover, numbers.factors, trail, clock)
    devices, policy = DeviceTokens(lambda: server_secret.key(b"device token")), numbers.password_policy
    sign_in = SignIn(store, prover, factors, devices, issuer, policy, trail, clock)
    sessions = Sessions(store, keyring, issuer, lambda: server_secret.key(b"refresh token"), trail, clock)
    accounts = Accounts(store, hashing, policy, trail, clock)
    interventions = Interventions(store, hashing, policy, trail, clock)
    grants, secret = Grants(process.configuration), process.page_secret()
    request_secret = hmac.digest(secret, b"authentication requests", "sha256")
    process.serve(
        add_AuthenticationServiceServicer_to_server,
        AuthenticationServicer(
            sign_in,
            sessions,
            factors,
            api_keys,
            keyring,
            feed,
            grants,
            PageTokens(secret, "authentication.sessions"),
        ),
    )
    process.serve(
        add_UserServiceServicer_to_server,
        UserServicer(
            accounts,
            interventions,
            grants,
            PageTokens(secret, "authentication.users"),
            PageTokens(secret, "authentication.user_sessions"),
            request_secret,
        ),
    )
    process.serve(
        add_ApiKeyServiceServicer_to_server,
        ApiKeyServicer(
            api_keys, grants, PageTokens(secret, "authentication.api_keys"), request_secret, clock
        ),
    )


async def _end_streams(process: Process, feed: RevocationFeed) -> None:
    await process.stopping.wait()
    feed.close()


async def _at_once(step: Callable[[], Awaitable[None]], name: str) -> None:
    """Done before the first call where possible; while database or vault are away, its loop does it later."""
    try:
        await step()
    except MeshError as error:
        logger.bind(step=name, reason=error.reason).warning("step put off")
