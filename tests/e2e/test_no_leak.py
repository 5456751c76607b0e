"""Secrets of every kind go every way through a running mesh, well and badly; then everything that it left behind is searched.

Found nowhere: in files, tables, messages, metrics, traces, error answers, arguments and environments. Each search first has to find
something harmless that does lie there, so that none of them is blind.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest

from mesh.ids import new_id
from mesh.status import DETAILS_KEY
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_main_job import eventually, settled
from tests.e2e.test_sign_in import code
from tests.fakes.leak_scan import Canary, Scan, files, messages, processes, tables, visible
from vivesphere.secure_bot_data.v1 import bot_secret_pb2, bot_secret_service_pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

SERVICES: Final = ("authentication", "bot_manager", "configuration", "logging", "secure_bot_data")
PUT: Final = "/vivesphere.secure_bot_data.v1.BotSecretService/PutBotSecret"
KiB: Final = 1024
CANARY: Final = Canary.new()
KINDS: Final = {
    "x_oauth1": ("consumer_key", "consumer_secret", "access_token", "access_token_secret"),
    "x_oauth2": ("access_token", "refresh_token", "client_id", "client_secret"),
    "x_app": ("consumer_key", "consumer_secret", "client_id", "client_secret", "bearer_token"),
    "generic": ("anything", "at_all"),
}


def fields(kind: str, place: str = "") -> dict[str, str]:
    return {name: CANARY.value(f"{place or kind}-{name}") for name in KINDS[kind]}


def secret(kind: str, **changes: Any) -> dict[str, Any]:
    """The body that puts a secret of a kind."""
    return {"kind": f"SECRET_KIND_{kind.upper()}", "fields": fields(kind), **changes}


@dataclass
class Planting:
    """Sends requests as a client would, and keeps the answers of those that fail."""

    running: Running
    http: httpx.Client
    bot_id: str = ""
    made: dict[str, str] = field(default_factory=dict, repr=False)
    """Secrets that the mesh made and showed once."""
    answers: list[tuple[str, bytes]] = field(default_factory=list, repr=False)
    spooled: list[str] = field(default_factory=list)

    def well(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Must succeed; its answer may show what it is about."""
        response = self.http.request(method, path, json=body, **more)
        assert response.is_success, (method, path, response.text)
        return dict(response.json())

    def badly(self, place: str, method: str, path: str, **request: Any) -> httpx.Response:
        """Must fail, and say nothing of what was sent."""
        response = self.http.request(method, path, **request)
        assert response.is_error, (place, response.text)
        self.answers.append((place, repr(response.headers.raw).encode() + response.content))
        return response

    def put(self, name: str) -> str:
        return f"/api/v1/bots/{self.bot_id}/secrets/{name}"


@pytest.fixture(scope="module")
async def planting(running: Running) -> Planting:
    """Everything is planted."""
    return await asyncio.to_thread(_plant, running)


def _plant(running: Running) -> Planting:
    with httpx.Client(base_url=running.url, timeout=20) as http:
        planting = Planting(running, http)
        _sign_in(planting)
        _connect_and_post(planting)
        _store_and_reveal(planting)
        _misuse(planting)
        _offer_bad_credentials(planting)
        _call_over_grpc(planting)
        _take_engines_away(planting)
    return planting


def _sign_in(planting: Planting) -> None:
    """A person with a password that is a canary, a second factor, refresh tokens, and an API key."""
    admin = planting.well("POST", "/api/v1/auth/login", {"username": "admin", "password": PASSWORD})
    _carry(planting, admin)
    name, password = f"discreet-{CANARY.stem[:2]}{new_id()[-10:]}", CANARY.value("password")
    user = planting.well(
        "POST", "/api/v1/users", {"username": name, "password": "the first of two", "roles": ["admin"]}
    )
    reset = planting.well("POST", f"/api/v1/users/{user['id']}:resetPassword", {})
    once = next(value for key, value in reset.items() if "assword" in key and isinstance(value, str))
    person = planting.well("POST", "/api/v1/auth/login", {"username": name, "password": once})
    _carry(planting, person)
    planting.badly(
        "change", "POST", "/api/v1/auth/password:change",
        json={"currentPassword": CANARY.value("not-current"), "newPassword": password},
    )  # fmt: skip
    changed = planting.well(
        "POST", "/api/v1/auth/password:change", {"currentPassword": once, "newPassword": password}
    )
    person = planting.well("POST", "/api/v1/auth/login", {"username": name, "password": password})
    _carry(planting, person)
    enrolled = planting.well("POST", "/api/v1/auth/totp:enroll", {})
    planting.badly("totp", "POST", "/api/v1/auth/totp:confirm", json={"otp": CANARY.value("otp")[:20]})
    confirmed = planting.well("POST", "/api/v1/auth/totp:confirm", {"otp": code(enrolled["secret"], -1)})
    fresh = planting.well("POST", "/api/v1/auth/token:refresh", {"refreshToken": person["refreshToken"]})
    _carry(planting, fresh)
    key = planting.well("POST", "/api/v1/apiKeys", {"displayName": "leak", "permissions": ["bots.read"]})
    planting.well("GET", "/api/v1/bots", headers={"authorization": f"Bearer {key['key']}"})
    planting.made |= {
        "one-time password": once,
        "access token": fresh["accessToken"],
        "refresh token": fresh["refreshToken"],
        "earlier refresh token": person["refreshToken"],
        "device token": person.get("deviceToken", "") or changed.get("deviceToken", ""),
        "totp secret": enrolled["secret"],
        "recovery code": confirmed["recoveryCodes"][0],
        "api key": key["key"],
    }


def _carry(planting: Planting, pair: dict[str, Any]) -> None:
    planting.http.headers["authorization"] = f"Bearer {pair['accessToken']}"


def _connect_and_post(planting: Planting) -> None:
    """Through bot_manager: stored, leased, sent to X; then canaries, unverified and refused by X."""
    handle = f"leak_{new_id()[-8:]}"
    account = httpx.post(
        f"{planting.running.sandbox}/sandbox/accounts", json={"handle": handle}, timeout=10
    ).json()
    planting.bot_id = planting.well("POST", "/api/v1/bots", {"handle": handle})["id"]
    path = f"/api/v1/bots/{planting.bot_id}/credentials"
    names = ("consumerKey", "consumerSecret", "accessToken", "accessTokenSecret")
    real = dict(zip(names, (account[name] for name in KINDS["x_oauth1"]), strict=True))
    assert planting.well("PUT", path, {"oauth1": real})["verified"]
    posts = f"/api/v1/bots/{planting.bot_id}/posts"
    post = planting.well("POST", posts, {"text": "nothing to see"}, params={"publishNow": "true"})

    class Reader:
        def get(self, path: str) -> dict[str, Any]:
            return planting.well("GET", path)

    assert settled(Reader(), post["id"])["state"] == "POST_STATE_PUBLISHED"  # type: ignore[arg-type]  # all it uses
    canaries = {name: CANARY.value(f"bot-manager-{name}") for name in names}
    planting.badly("rejected by X", "PUT", path, json={"oauth1": canaries})
    planting.well("PUT", path, {"oauth1": canaries, "skipVerification": True})
    tokens = {
        name: CANARY.value(f"bot-manager-oauth2-{name}")
        for name in ("accessToken", "refreshToken", "clientSecret")
    }
    oauth2 = {**tokens, "clientId": "an app"}
    planting.badly("tokens rejected by X", "PUT", path, json={"oauth2": oauth2})
    planting.well("PUT", path, {"oauth2": oauth2, "skipVerification": True})
    redirect = {name: CANARY.value(f"callback-{name}") for name in ("state", "code")}
    for accept in ("application/json", "text/html"):
        headers = {"Accept": accept}
        planting.badly(f"callback {accept}", "GET", "/oauth/callback", params=redirect, headers=headers)
    planting.made |= {name: account[name] for name in ("consumer_secret", "access_token_secret")}


def _store_and_reveal(planting: Planting) -> None:
    """Every kind, put, replaced and shown to a person."""
    for kind in KINDS:
        name = f"own-{kind.replace('_', '-')}"
        planting.well("PUT", planting.put(name), secret(kind))
        planting.well("PUT", planting.put(name), secret(kind, fields=fields(kind, f"again-{kind}")))
        revealed = planting.well("POST", f"{planting.put(name)}:reveal", {"reason": "to see that it is kept"})
        assert revealed["fields"] == fields(kind, f"again-{kind}")
    # Large enough for PostgreSQL to compress it, were it ever given to it.
    large = {"large": CANARY.value("large") * (4 * KiB)}
    planting.well("PUT", planting.put("own-large"), secret("generic", fields=large))


def _misuse(planting: Planting) -> None:
    """Requests that are wrong in every way a request can be wrong while it carries a secret."""
    where = planting.put("own-generic")
    value = CANARY.value("wrong")
    bodies: dict[str, Any] = {
        "foreign field": secret("x_oauth1", fields=fields("x_oauth1") | {"stranger": value}),
        "missing field": secret("x_oauth1", fields={"consumer_key": value}),
        "bad time": secret("x_oauth2", fields={"access_token": value, "expires_at": value}),
        "other kind": secret("x_oauth1"),
        "no kind": {"fields": {"a": value}},
        "bad kind": {"kind": value, "fields": {"a": value}},
        "other version": secret("generic", expectedVersion=4711),
        "bad version": secret("generic", expectedVersion=value),
        "nul": secret("generic", fields={"a": f"{value}\0"}),
        "a list": secret("generic", fields=[value]),
        "text": secret("generic", fields=value),
        "nested": secret("generic", fields={"a": {"b": value}}),
        "a list of one": secret("generic", fields={"a": [value]}),
        "a number": secret("generic", fields={"a": 12345, "b": value}),
        "null": secret("generic", fields={"a": None, "b": value}),
        "unknown field": secret("generic", password=value),
        "unknown object": secret("generic", more={"token": value}),
        "not an object": [value],
        "only text": value,
        "too large a value": secret("generic", fields={"a": value + "x" * (1100 * KiB)}),
        "bad expiry": secret("generic", expireTime=value),
        "bad owner": secret("generic", owner={"of": value}),
    }
    for place, body in bodies.items():
        planting.badly(place, "PUT", where, json=body)
    whole = json.dumps(secret("generic")).encode()
    raw = {
        "cut off": whole[:-5],
        "a comma too many": whole[:-1] + b",}",
        "key given twice": b'{"kind": 1, ' + whole[1:-1] + b', "kind": 2}',
        "not UTF-8": whole.replace(b"generic", b"\xff\xfe"),
        "too large": whole + b" " * (8 * 1024 * KiB),
        "another charset": whole.decode().encode("utf-16"),
        "NaN": whole[:-1] + b', "expectedVersion": NaN}',
    }
    for place, content in raw.items():
        planting.badly(place, "PUT", where, content=content, headers={"content-type": "application/json"})
    form = {"content-type": "application/x-www-form-urlencoded"}
    planting.badly("form", "PUT", where, content=b"fields=" + value.encode(), headers=form)
    planting.badly("query", "PUT", where, params={"fields": value}, json=secret("generic"))
    planting.badly("no such bot", "PUT", f"/api/v1/bots/{value[:8]}/secrets/a", json=secret("generic"))
    planting.badly("hurry", "PUT", where, json=secret("generic"), headers={"x-server-timeout": "0.002"})
    for milliseconds in (2, 5, 10, 20, 40):
        with suppress(httpx.TimeoutException):
            planting.http.put(where, json=secret("generic"), timeout=milliseconds / 1000)


def _offer_bad_credentials(planting: Planting) -> None:
    """Passwords, tokens and headers that are no good."""
    login, nobody = "/api/v1/auth/login", f"nobody-{new_id()[-8:]}"
    value = CANARY.value("credential")
    wrong: dict[str, Any] = {
        "wrong password": {"username": nobody, "password": value},
        "password as list": {"username": nobody, "password": [value]},
        "password too long": {"username": nobody, "password": value * 40},
        "password with nul": {"username": nobody, "password": f"{value}\0"},
        "password elsewhere": {"username": nobody, "passwort": value},
        "password and code": {"username": nobody, "password": value, "otp": value[:20]},
    }
    for place, body in wrong.items():
        planting.badly(place, "POST", login, json=body)
    new_user = {"username": "x y", "password": value}
    planting.badly("bad user", "POST", "/api/v1/users", json=new_user)
    planting.badly("refresh", "POST", "/api/v1/auth/token:refresh", json={"refreshToken": value})
    basic = base64.b64encode(value.encode()).decode()
    ascii_value = CANARY.value("header").encode("ascii", "ignore").decode().replace("\\", "")
    for place, header in {
        "bearer": f"Bearer {ascii_value}",
        "no scheme": ascii_value,
        "basic": f"Basic {basic}",
        "api key": f"Bearer vsk_{CANARY.stem * 4}",
        "refresh as access": f"Bearer vsr_{CANARY.stem * 4}",
        "jwt": f"Bearer {_jwt()}",
    }.items():
        planting.badly(place, "GET", "/api/v1/bots", headers={"authorization": header})
    planting.badly(
        "cookie", "POST", "/api/v1/auth/token:refresh", json={},
        headers={"sec-fetch-site": "same-origin", "cookie": f"__Host-vivesphere-refresh={CANARY.stem}; vivesphere-refresh={CANARY.stem}"},
    )  # fmt: skip
    planting.badly(
        "vault token", "GET", "/api/v1/nothing",
        headers={"x-vault-token": f"hvs.{CANARY.stem * 3}", "x-api-key": CANARY.stem, "proxy-authorization": ascii_value},
    )  # fmt: skip


def _jwt() -> str:
    parts = ({"alg": "EdDSA", "kid": CANARY.stem}, {"sub": CANARY.stem, "iss": CANARY.value("jwt")})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, CANARY.stem * 4])


def _call_over_grpc(planting: Planting) -> None:
    """The same over the other door; what comes back besides messages is kept."""
    bearer = (("authorization", planting.http.headers["authorization"]),)
    request = bot_secret_service_pb2.PutBotSecretRequest(
        bot_id=planting.bot_id, name="own-x-app", kind=bot_secret_pb2.SECRET_KIND_X_APP, fields=fields("generic")
    )  # fmt: skip
    garbage = (
        ("authorization", f"Bearer {CANARY.stem * 3}"),
        ("x-token-bin", CANARY.value("metadata").encode()),
    )
    with grpc.insecure_channel(planting.running.grpc) as channel:
        stub = BotSecretServiceStub(channel)
        for place, metadata, timeout in (
            ("grpc wrong fields", bearer, 10.0),
            ("grpc garbage", garbage, 10.0),
            ("grpc hurry", bearer, 0.003),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.PutBotSecret(request, metadata=metadata, timeout=timeout)
            told = [caught.value.code(), caught.value.details(), caught.value.debug_error_string()]
            trailing = caught.value.trailing_metadata() or ()
            planting.answers.append((place, repr([*told, *trailing]).encode()))
            planting.answers += [(f"{place} details", value) for key, value in trailing if key == DETAILS_KEY]
        stub.PutBotSecret.future(request, metadata=bearer).cancel()


def _take_engines_away(planting: Planting) -> None:
    """Failures under way, while the secret is in hand."""
    running, where = planting.running, planting.put("own-generic")
    reveal = f"{where}:reveal"
    with running.without("openbao"):
        planting.badly("no vault", "PUT", where, json=secret("generic"))
        planting.badly("no vault", "POST", reveal, json={"reason": "curious"})
    with running.without("postgres"):
        planting.badly("no database", "PUT", where, json=secret("generic"))
        planting.badly("no database", "POST", reveal, json={"reason": "curious"})
    eventually(lambda: planting.http.get("/readyz").status_code, lambda status: status == 200)
    with running.without("nats"):
        planting.badly("no messages", "PUT", where, json=secret("generic", expectedVersion=4711))
        spool = running.mesh.data.service("secure_bot_data") / "spool"
        eventually(lambda: any(b"call finished" in data for _, data in files(spool)), bool)
        planting.spooled = [name for name, data in files(spool) if b"call finished" in data]
        assert scan(planting).report(files(spool)) == {}
    eventually(lambda: planting.http.get("/readyz").status_code, lambda status: status == 200)


def scan(planting: Planting) -> Scan:
    """For what was planted and what the mesh showed once."""
    made = {name: value for name, value in planting.made.items() if value}
    return Scan({"canary": CANARY.stem, "administrator's password": PASSWORD, **made})


def keys_of_the_mesh(running: Running) -> dict[str, str]:
    """What lies in files of its own for one process each, and nowhere else."""
    data = running.mesh.data
    vault = json.loads(data.secret("setup", "vault_keys.json").read_text(encoding="utf-8"))
    found = {"root token": vault["root_token"], "recovery key": vault["recovery_keys"][0]}
    for path in (data.root / "secrets").rglob("*"):
        if path.name in ("database_password", "vault_role_id", "vault_secret_id", "postgres_admin_password"):
            found[f"{path.parent.name}/{path.name}"] = path.read_text(encoding="utf-8").strip()
    for path in data.tls.rglob("*.key"):
        found[f"{path.parent.name}/{path.name}"] = path.read_text(encoding="ascii").splitlines()[1]
    return found


def test_no_file_holds_a_secret(planting: Planting) -> None:
    """Database files, write-ahead log, NATS store, vault storage, spools, copies of settings, and what every process printed."""
    running = planting.running
    root = running.mesh.data.root
    with running.mesh.admin.connect(autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    content = dict(files(root))
    marker = planting.bot_id.encode()
    for prefix in ("nats/", "services/configuration", "openbao/", "logs/"):
        assert any(name.startswith(prefix) for name in content), prefix
    assert any(marker in data for name, data in content.items() if name.startswith("nats/"))
    assert any(
        b"to see that it is kept" in data for name, data in content.items() if name.startswith("postgres/")
    )
    for name in SERVICES:
        assert b'"body":"serving"' in content[f"logs/{name}.log"]
    assert b"vault login done" in content["logs/secure_bot_data.log"]
    assert b"gateway serves" in content["logs/gateway.log"]
    assert scan(planting).report(content.items()) == {}
    assert planting.spooled


def test_keys_of_the_mesh_lie_in_their_own_files_only(planting: Planting) -> None:
    """Passwords of roles, ids of AppRoles, tokens of the vault and private keys are read from files and told to nobody."""
    running = planting.running
    root = running.mesh.data.root
    found = Scan(keys_of_the_mesh(running), plain=True)
    assert found.report(files(root / "secrets")) != {} != found.report(files(root / "tls"))
    assert found.report(files(root, but=[root / "secrets", root / "tls"])) == {}


def test_no_table_holds_a_secret(planting: Planting) -> None:
    """Row by row as text, so that nothing is hidden by compression."""
    with planting.running.mesh.admin.connect(autocommit=True) as connection:
        content = list(tables(connection))
    marked = {name.partition(".")[0] for name, data in content if planting.bot_id.encode() in data}
    assert marked >= {"bot_manager", "secure_bot_data", "logging"}
    assert {name.partition(".")[0] for name, _ in content} >= set(SERVICES)
    assert scan(planting).report(content) == {}
    assert Scan(keys_of_the_mesh(planting.running)).report(content) == {}


async def test_no_message_holds_a_secret(planting: Planting) -> None:
    """Audit records, logs, actions and events, as the server gives them out."""
    content = await messages(planting.running.mesh)
    told = [name for name, data in content if planting.bot_id.encode() in data]
    assert any(name.startswith("AUDIT/audit.secure_bot_data") for name in told)
    assert any(name.startswith("LOGS/logs.secure_bot_data") for name, _ in content)
    assert scan(planting).report(content) == {}


def test_no_metric_holds_a_secret(planting: Planting) -> None:
    """Labels are names of methods and reasons, never values."""
    pages = [(name, httpx.get(url, timeout=10).content) for name, url in planting.running.metrics.items()]
    pages.append(("gateway", httpx.get(f"{planting.running.url}/metrics", timeout=10).content))
    assert PUT.encode() in dict(pages)["secure_bot_data"]
    assert scan(planting).report(pages) == {}


def test_no_span_holds_a_secret(planting: Planting) -> None:
    """Names, attributes, events and status, as they leave for the collector."""
    collector = planting.running.collector
    assert eventually(lambda: PUT.encode() in collector.received, bool)
    assert scan(planting).report([("spans", collector.received)]) == {}


def test_no_failure_tells_a_secret(planting: Planting) -> None:
    """Bodies, headers, trailing metadata and details of everything that was refused."""
    content = planting.answers
    places = {place for place, data in content if b"INVALID_FIELD" in data}
    assert places >= {
        "foreign field",
        "missing field",
        "a list",
        "grpc wrong fields",
        "grpc wrong fields details",
    }
    assert len(content) > 50
    assert scan(planting).report(content) == {}


def test_no_argument_and_no_environment_holds_a_secret(planting: Planting) -> None:
    """`ps` shows them to every user of the machine, and crash reports carry them along."""
    running = planting.running
    content = [pair for name, process in processes(running.mesh) for pair in visible(name, process)]
    assert any(b"services.secure_bot_data" in data for name, data in content if name.endswith("cmdline"))
    assert any(
        b"VIVESPHERE_VAULT_SECRET_ID_FILE" in data for name, data in content if name.endswith("environ")
    )
    assert scan(planting).report(content) == {}
    assert Scan(keys_of_the_mesh(running)).report(content) == {}


def test_no_process_may_dump_its_memory(planting: Planting) -> None:
    """The engines as well: the vault's memory is all secrets."""
    limits = dict(_core_limits(planting.running))
    assert limits.keys() >= {*SERVICES, "gateway", "postgres", "nats", "openbao", "sandbox"}
    assert set(limits.values()) == {("0", "0")}


def _core_limits(running: Running) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, process in processes(running.mesh):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii").splitlines()
            line = next(line for line in lines if line.startswith("Max core file size"))
            soft, hard = line.split()[4:6]
            yield name, (soft, hard)
