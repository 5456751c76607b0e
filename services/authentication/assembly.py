"""Where authentication's concrete parts meet."""

import hmac
from collections.abc import Awaitable, Callable

from loguru import logger

from mesh.errors import MeshError
from mesh.identity.keys import KeySource
from mesh.paging import PageTokens
from mesh.process import Process
from mesh.settings import dns_name
from services.authentication import settings
from services.authentication.caller import CallTrail
from services.authentication.domain.accounts import Accounts
from services.authentication.domain.devices import DeviceTokens
from services.authentication.domain.first_user import FirstUser
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import Interventions
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.proving import Prover
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.grants import Grants
from services.authentication.housekeeping import Housekeeping
from services.authentication.servicers.authentication import AuthenticationServicer
from services.authentication.servicers.users import UserServicer
from services.authentication.store.postgres import PostgresStore
from services.authentication.store.sealing import TransitSealer
from vivesphere.authentication.v1.api_key_service_pb2_grpc import (
    ApiKeyServiceServicer,
    add_ApiKeyServiceServicer_to_server,
)
from vivesphere.authentication.v1.authentication_service_pb2_grpc import (
    add_AuthenticationServiceServicer_to_server,
)
from vivesphere.authentication.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server


async def assemble(process: Process) -> None:
    """Settings → store → keys → hashing → first user → use cases → servicers."""
    bootstrap = settings.AuthenticationSettings()
    process.define_settings(*settings.DEFINITIONS)
    numbers, clock, trail = settings.Numbers(process.configuration), process.clock, CallTrail()
    store = PostgresStore(process.database, process.audit)
    keyring = Keyring(store, TransitSealer(process.vault().transit(), dns_name(process.name)), clock)
    # This service checks tokens with its own keys; asking itself over the network would only add a way to fail.
    process.keys = KeySource(keyring.document, clock)
    hashing = HashingPool(bootstrap.hashing_threads, bootstrap.hashing_queue, numbers.hash_cost)
    process.stack.callback(hashing.close)
    first_user = FirstUser(store, hashing, bootstrap.first_password, clock)

    process.health.add("first_user", first_user.check, vital=True)
    process.health.add("signing_key", keyring.check)
    await _at_once(keyring.refresh, "signing key")
    await _at_once(first_user.ensure, "first user")
    process.tasks.spawn(keyring.run(), name="signing key")
    process.tasks.spawn(first_user.run(), name="first user")
    process.tasks.spawn(Housekeeping(store, clock).run(), name="housekeeping")

    issuer = Issuer(keyring, numbers.lifetimes, clock)
    grants, secret = Grants(process.configuration), process.page_secret()
    # To be a secret of its own, sealed by the vault; until then it changes with the database password, which costs every device once.
    devices = DeviceTokens(lambda: hmac.digest(secret, b"authentication devices", "sha256"))
    prover = Prover(store, hashing, numbers.throttle, clock)
    sign_in = SignIn(store, prover, devices, issuer, numbers.password_policy, trail, clock)
    sessions = Sessions(store, keyring, issuer, trail, clock)
    accounts = Accounts(store, hashing, numbers.password_policy, trail, clock)
    interventions = Interventions(store, hashing, numbers.password_policy, trail, clock)
    process.serve(
        add_AuthenticationServiceServicer_to_server,
        AuthenticationServicer(
            sign_in, sessions, keyring, grants, PageTokens(secret, "authentication.sessions")
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
            hmac.digest(secret, b"authentication requests", "sha256"),
        ),
    )
    # No method of it is built yet: callers are checked all the same, and told NOT_IMPLEMENTED.
    process.serve(add_ApiKeyServiceServicer_to_server, ApiKeyServiceServicer())


async def _at_once(step: Callable[[], Awaitable[None]], name: str) -> None:
    """Done before the first call where possible; while database or vault are away, its loop does it later."""
    try:
        await step()
    except MeshError as error:
        logger.bind(step=name, reason=error.reason).warning("step put off")
