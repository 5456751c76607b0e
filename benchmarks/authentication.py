"""Signing in and being recognised: what a token check costs, how many sign-ins a machine takes, and who suffers from a storm of them.

token    CPU of turning an `authorization` header into a principal, for a token seen before and for a new one; beside it PyJWT alone
         with every check it knows, and the bare Ed25519 verification that nobody can do without
logins   sign-ins per second at the service over mutual TLS, against raw Argon2id with the same parameters on as many threads; aim ≥ 0.9
out      time from the answer to a sign-out until each of the five services refuses the access token; promised: p99 ≤ 1 s
storm    p99 of an ordinary authenticated call in quiet and while as many sign-ins as have places wait for a thread; aim ≤ 2 ×
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import jwt

from benchmarks.report import Figure, print_figures
from benchmarks.startup import PASSWORD, running
from cli.embedded import EmbeddedMesh
from mesh.channels import channel_credentials
from mesh.clock import SystemClock
from mesh.context import Call
from mesh.identity.keys import KeySource, parse_jwks
from mesh.identity.revocations import Revocations
from mesh.interceptors.access import Authenticator
from mesh.secret import Secret
from mesh.settings import TlsSettings
from services.authentication.domain.passwords import HashParameters, hash_password, verify_password
from services.authentication.settings import AuthenticationSettings
from tests.fakes.issuer import Issuer
from tests.fakes.mesh import KeyDirectory
from tests.fakes.revocations import Feed
from vivesphere.authentication.v1 import authentication_service_pb2 as pb
from vivesphere.authentication.v1 import user_service_pb2
from vivesphere.authentication.v1.authentication_service_pb2_grpc import AuthenticationServiceStub
from vivesphere.authentication.v1.user_service_pb2_grpc import UserServiceStub

ROUNDS = 5
TOKENS = 2_000
USERS = 24
LOGINS = 100
STORM_CALLERS = 48
"""Under the number of places, so that every one of them waits and none is refused."""
SIGN_OUTS = 100
EVERYWHERE = {
    "authentication": "/api/v1/users?pageSize=1",
    "configuration": "/api/v1/settings?pageSize=1",
    "secure_bot_data": "/api/v1/bots/0190c6a1-0000-7000-8000-0000000000aa/secrets",
    "logging": "/api/v1/logs?pageSize=1",
    "bot_manager": "/api/v1/bots?pageSize=1",
}
CALLS = 300
PACE_SECONDS = 0.02
MICRO, MILLI = 1e6, 1e3


async def measure() -> None:
    """Run and print."""
    await _tokens()
    with tempfile.TemporaryDirectory() as name:
        async with EmbeddedMesh(
            Path(name) / "data",
            services=("configuration", "authentication"),
            extra={"authentication": {"VIVESPHERE_ADMIN_PASSWORD": PASSWORD}},
        ) as mesh:
            files = mesh.data.tls_files("gateway")
            tls = TlsSettings(cert_file=files.cert_file, key_file=files.key_file, ca_file=files.ca_file)
            address = f"127.0.0.1:{mesh.ports['authentication']}"
            options = (("grpc.ssl_target_name_override", "authentication"),)
            async with grpc.aio.secure_channel(address, channel_credentials(tls), options=options) as channel:
                door = AuthenticationServiceStub(channel)
                names = await _people(door, UserServiceStub(channel))
                await _logins(door, names)
                await _storm(door, names)
    await _out()


async def _tokens() -> None:
    issuer, clock = Issuer(), SystemClock()
    keys = KeySource(issuer.jwks, clock)
    await keys.refresh_for(issuer.key_id)
    revocations = Revocations(Feed(clock).watch, clock, lambda: timedelta(seconds=15))
    following = asyncio.create_task(revocations.run())
    while not revocations.loaded:
        await asyncio.sleep(0.01)
    public = parse_jwks(await issuer.jwks())[issuer.key_id]
    headers = [f"Bearer {issuer.token('operator', jti=f'token-{number}')}" for number in range(TOKENS)]
    samples: dict[str, list[float]] = {"new": [], "seen": [], "pyjwt": [], "ed25519": []}
    for _ in range(ROUNDS):
        authenticator = Authenticator(keys, KeyDirectory(), revocations, clock)
        for kind in ("new", "seen"):
            calls = [Call("", "", authorization=header) for header in headers]
            began = time.process_time()
            for call in calls:
                await authenticator.authenticate(call)
            samples[kind].append((time.process_time() - began) / TOKENS * MICRO)
        samples["pyjwt"].append(_each(headers, lambda header: _pyjwt(header, public)))
        samples["ed25519"].append(_each(headers, lambda header: _signature(header, public)))
    following.cancel()
    print_figures(
        f"CPU of one token check in the interceptor ({TOKENS} tokens a round)",
        [
            Figure("token seen before (the ordinary case)", "µs", samples["seen"]),
            Figure("new token, all checks", "µs", samples["new"]),
            Figure("PyJWT alone, every claim required", "µs", samples["pyjwt"]),
            Figure("Ed25519 verification alone", "µs", samples["ed25519"]),
        ],
    )


def _each(headers: list[str], work: Callable[[str], Any]) -> float:
    began = time.process_time()
    for header in headers:
        work(header)
    return (time.process_time() - began) / len(headers) * MICRO


def _pyjwt(header: str, public: Any) -> Any:
    required = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"]
    return jwt.decode(
        header[7:],
        public,
        algorithms=["EdDSA"],
        audience="vivesphere",
        issuer="vivesphere",
        options={"require": required},
    )


def _signature(header: str, public: Any) -> None:
    signed, _, signature = header[7:].rpartition(".")
    public.verify(jwt.utils.base64url_decode(signature), signed.encode())


async def _people(door: Any, users: Any) -> list[str]:
    """Users with the password of the benchmark; several, as in life, so that no row of one of them is what all wait for."""
    pair = (await door.Login(pb.LoginRequest(username="admin", password=PASSWORD), timeout=30)).token_pair
    metadata = (("authorization", f"Bearer {pair.access_token}"),)
    names = [f"measured{number}" for number in range(USERS)]
    for name in names:
        while True:  # roles may not have been read yet
            try:
                await users.CreateUser(
                    user_service_pb2.CreateUserRequest(username=name, password=PASSWORD),
                    metadata=metadata,
                    timeout=30,
                )
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.2)
    return names


async def _logins(door: Any, names: list[str]) -> None:
    threads = AuthenticationSettings().hashing_threads
    cost = HashParameters()
    stored = hash_password(Secret(PASSWORD), cost)
    raw, served = [], []
    with ThreadPoolExecutor(threads) as executor:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            list(executor.map(lambda _: verify_password(Secret(PASSWORD), stored), range(LOGINS)))
            raw.append(LOGINS / (time.perf_counter() - began))
            served.append(LOGINS / await _sign_in_many(door, names, LOGINS))
    print_figures(
        f"Sign-ins, {threads} hashing thread(s), Argon2id t=2 m=19 MiB p=1, {LOGINS} a round, {USERS} users",
        [
            Figure("raw Argon2id verifications", "/s", raw),
            Figure("sign-ins at the service", "/s", served),
            Figure("ratio (aim ≥ 0.9)", "×", [s / r for s, r in zip(served, raw, strict=True)]),
        ],
    )


async def _sign_in_many(door: Any, names: list[str], count: int) -> float:
    left = iter(range(count))

    async def worker() -> None:
        for number in left:
            request = pb.LoginRequest(username=names[number % len(names)], password=PASSWORD)
            await door.Login(request, timeout=60)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(8)))
    return time.perf_counter() - began


async def _out() -> None:
    """On the whole mesh as `vivesphere up` starts it, seen from outside through the gateway."""
    worst: list[float] = []
    by_service: dict[str, list[float]] = {name: [] for name in EVERYWHERE}
    with tempfile.TemporaryDirectory() as name:
        async with (
            running(Path(name) / "data") as up,
            aiohttp.ClientSession(up.addresses["console"]) as client,
        ):
            for _ in range(SIGN_OUTS):
                body = {"username": "admin", "password": PASSWORD}
                async with client.post("/api/v1/auth/login", json=body) as answer:
                    token = (await answer.json())["accessToken"]
                headers = {"authorization": f"Bearer {token}"}
                for path in EVERYWHERE.values():
                    await _until(client, path, headers, refused=False)
                async with client.post("/api/v1/auth/logout", json={}, headers=headers) as answer:
                    answer.raise_for_status()
                began = time.perf_counter()

                async def refused(
                    service: str, headers: dict[str, str] = headers, began: float = began
                ) -> float:
                    await _until(client, EVERYWHERE[service], headers, refused=True)
                    return (time.perf_counter() - began) * MILLI

                times = await asyncio.gather(*(refused(service) for service in EVERYWHERE))
                for service, taken in zip(EVERYWHERE, times, strict=True):
                    by_service[service].append(taken)
                worst.append(max(times))
    print_figures(
        f"From the answer to a sign-out until the access token is refused, {SIGN_OUTS} sign-outs; largest is the p99 at this number",
        [
            *(Figure(name, "ms", taken) for name, taken in by_service.items()),
            Figure("everywhere", "ms", worst),
        ],
    )


async def _until(client: aiohttp.ClientSession, path: str, headers: dict[str, str], *, refused: bool) -> None:
    while True:
        async with client.get(path, headers=headers) as answer:
            if (answer.status == 401) == refused:
                return


async def _storm(door: Any, names: list[str]) -> None:
    pair = (await door.Login(pb.LoginRequest(username=names[0], password=PASSWORD), timeout=30)).token_pair
    metadata = (("authorization", f"Bearer {pair.access_token}"),)

    async def ordinary() -> None:
        await door.GetCurrentUser(pb.GetCurrentUserRequest(), metadata=metadata, timeout=30)

    quiet, stormy = [], []
    await _latencies(ordinary)
    for _ in range(ROUNDS):
        quiet.append(_p99(await _latencies(ordinary)))
        over = asyncio.Event()
        storm = asyncio.create_task(_storm_of_logins(door, names, over))
        await asyncio.sleep(0.5)
        stormy.append(_p99(await _latencies(ordinary)))
        over.set()
        await storm
    print_figures(
        f"p99 of GetCurrentUser, one call every {PACE_SECONDS * MILLI:.0f} ms, {CALLS} a round",
        [
            Figure("quiet", "ms", quiet),
            Figure(f"while {STORM_CALLERS} sign in without pause", "ms", stormy),
            Figure("ratio (aim ≤ 2)", "×", [s / q for s, q in zip(stormy, quiet, strict=True)]),
        ],
    )


async def _storm_of_logins(door: Any, names: list[str], over: asyncio.Event) -> None:
    async def caller(number: int) -> None:
        request = pb.LoginRequest(username=names[number % len(names)], password=PASSWORD)
        while not over.is_set():
            with suppress(grpc.aio.AioRpcError):
                await door.Login(request, timeout=60)

    await asyncio.gather(*(caller(number) for number in range(STORM_CALLERS)))


async def _latencies(call: Callable[[], Awaitable[None]]) -> list[float]:
    """Milliseconds of calls that begin at a steady pace, whether or not those before have ended."""

    async def timed() -> float:
        began = time.perf_counter()
        await call()
        return (time.perf_counter() - began) * MILLI

    running = []
    for _ in range(CALLS):
        running.append(asyncio.create_task(timed()))
        await asyncio.sleep(PACE_SECONDS)
    return list(await asyncio.gather(*running))


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]
