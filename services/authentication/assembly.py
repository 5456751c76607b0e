"""Where authentication's concrete parts meet."""

import hmac
from collections.abc import Awaitable, Callable

from loguru import logger

from mesh.context import Principal
from mesh.errors import MeshError
from mesh.identity import rules
from mesh.identity.keys import KeySource
from mesh.paging import PageTokens
from mesh.process import Process
from mesh.settings import dns_name
from services.authentication import settings
from services.authentication.caller import CallTrail
from services.authentication.domain.accounts import Accounts
from services.authentication.domain.first_user import FirstUser
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.proving import Prover
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.feed import empty_feed
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
    process.define_settings(*settings.DEFINITIONS, *rules.DEFINITIONS)
    numbers, clock, trail = settings.Numbers(process.configuration), process.clock, CallTrail()
    store = PostgresStore(process.database)
    keyring = Keyring(store, TransitSealer(process.vault().transit(), dns_name(process.name)), clock)
    # This service checks tokens with its own keys and feed; asking itself over the network would only add a way to fail.
    process.keys = KeySource(keyring.document, clock)
    feed = empty_feed(clock, process.stopping)
    process.revocations = process.follow_revocations(feed)
    process.api_keys = _NoKeys()
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
    prover = Prover(store, hashing, numbers.throttle, clock)
    sign_in = SignIn(store, prover, issuer, trail, clock)
    sessions = Sessions(store, keyring, issuer, trail, clock)
    accounts = Accounts(store, hashing, trail, clock)
    grants, secret = Grants(process.configuration), process.page_secret()
    process.serve(
        add_AuthenticationServiceServicer_to_server,
        AuthenticationServicer(
            sign_in, sessions, keyring, grants, PageTokens(secret, "authentication.sessions"), feed
        ),
    )
    process.serve(
        add_UserServiceServicer_to_server,
        UserServicer(
            accounts,
            grants,
            PageTokens(secret, "authentication.users"),
            hmac.digest(secret, b"authentication requests", "sha256"),
        ),
    )
    # No method of it is built yet: callers are checked all the same, and told NOT_IMPLEMENTED.
    process.serve(add_ApiKeyServiceServicer_to_server, ApiKeyServiceServicer())


class _NoKeys:
    """Whom API keys act for while none can be made."""

    async def resolve(self, key: str) -> Principal | None:
        """See `mesh.identity.key_resolving.ApiKeyResolver`."""
        return None


async def _at_once(step: Callable[[], Awaitable[None]], name: str) -> None:
    """Done before the first call where possible; while database or vault are away, its loop does it later."""
    try:
        await step()
    except MeshError as error:
        logger.bind(step=name, reason=error.reason).warning("step put off")
