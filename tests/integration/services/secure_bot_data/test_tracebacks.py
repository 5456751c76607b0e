"""Defects while values are at hand in clear, in a process that logs and debugs as much as it can: no value gets out."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.environment import python_module
from cli.layout import make_private_directory
from cli.ports import LOOPBACK, free_port
from cli.probes import grpc_serves
from cli.processlog import ProcessLog
from mesh.channels import channel_credentials
from mesh.ids import new_id
from mesh.settings import TlsSettings
from mesh.status import from_rpc_error
from tests.fakes.leak_scan import Canary, Scan, files, messages, tables
from vivesphere.secure_bot_data.v1 import bot_secret_pb2 as secret_pb2
from vivesphere.secure_bot_data.v1 import bot_secret_service_pb2 as pb2
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import BotSecretServiceStub

NAME = "secure_bot_data"
CANARY = Canary.new()
SCAN = Scan({"canary": CANARY.stem})
FIELDS = {"consumer_secret": CANARY.value("defect"), "another": CANARY.value("second")}
TALKATIVE = {
    "VIVESPHERE_LOG_LEVEL": "TRACE",
    "PYTHONDEVMODE": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONFAULTHANDLER": "1",
}
TOLD = {
    "object-in-arguments": "RuntimeError",
    "local-in-library": "TypeError",
    "text-quotes-value": "ValueError",
    "cause-quotes-value": "ValueError",
    "group-quotes-values": "ExceptionGroup",
}
"""What the handler fails with, by fault."""
SURVIVED = {
    "thread-dies": "thread died",
    "callback-fails": "event loop reports an error",
    "task-is-forgotten": "event loop reports an error",
    "finalizer-fails": "exception could not be raised",
    "object-is-logged": "kept",
}
"""What is logged beside a call that goes well, by fault."""


@dataclass
class Faulty:
    """The defective process."""

    child: Child
    log: Path
    folder: Path
    stub: BotSecretServiceStub

    def records(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def put(self, fault: str) -> Any:
        request = pb2.StoreBotSecretRequest(
            bot_id=new_id(), name=fault, kind=secret_pb2.SECRET_KIND_GENERIC, fields=FIELDS
        )
        return await self.stub.StoreBotSecret(request, timeout=20)


@pytest.fixture(scope="module")
async def faulty(engines: EmbeddedMesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faulty]:
    folder, port = tmp_path_factory.mktemp("faulty"), free_port()
    gateway = engines.data.tls_files("gateway")

    async def ready() -> bool:
        return await grpc_serves(f"{LOOPBACK}:{port}", "secure-bot-data", gateway)

    spec = engines.service_spec(NAME)
    own = {
        "VIVESPHERE_LISTEN": f"{LOOPBACK}:{port}",
        "VIVESPHERE_DATA_DIR": str(make_private_directory(folder / "data")),
    }
    module = python_module("tests.integration.services.secure_bot_data.faulty")
    output = ProcessLog(folder / "output.log")
    child = Child(replace(spec, argv=module, env={**spec.env, **own, **TALKATIVE}, ready=ready), output)
    files_of_caller = engines.data.tls_files("bot_manager")
    tls = TlsSettings(
        cert_file=files_of_caller.cert_file,
        key_file=files_of_caller.key_file,
        ca_file=files_of_caller.ca_file,
    )
    options = (("grpc.ssl_target_name_override", "secure-bot-data"), ("grpc.use_local_subchannel_pool", 1))
    await child.spawn()
    try:
        await child.wait_ready()
        async with grpc.aio.secure_channel(
            f"{LOOPBACK}:{port}", channel_credentials(tls), options=options
        ) as channel:
            yield Faulty(child, folder / "output.log", folder, BotSecretServiceStub(channel))
    finally:
        await child.stop()
        output.close()


@pytest.mark.parametrize("fault", TOLD)
async def test_a_defect_is_logged_by_its_incident_and_place_without_values(
    faulty: Faulty, fault: str
) -> None:
    """Whoever mends it finds the line of code; whoever reads logs finds no credential."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await faulty.put(fault)
    told = from_rpc_error(caught.value)
    assert (told.reason, list(told.metadata)) == ("INTERNAL", ["incident"])
    answer = f"{caught.value!r} {caught.value.trailing_metadata()} {caught.value.debug_error_string()}"
    assert SCAN.found(answer.encode()) == []
    [record] = [
        record
        for record in faulty.records()
        if record.get("attributes", {}).get("incident") == told.metadata["incident"]
    ]
    assert record["body"] == "unexpected exception"
    assert record["attributes"]["exception.type"] == TOLD[fault]
    assert f"in _{fault.replace('-', '_')}" in record["attributes"]["exception.stacktrace"]
    assert SCAN.found(faulty.log.read_bytes()) == []


@pytest.mark.parametrize("fault", SURVIVED)
async def test_what_goes_wrong_beside_a_call_is_reported_without_values(faulty: Faulty, fault: str) -> None:
    """Threads, callbacks, forgotten results, finalizers, and a careless log line of our own."""
    assert (await faulty.put(fault)).metadata.version == 1
    async with asyncio.timeout(20):
        while not any(record["body"] == SURVIVED[fault] for record in faulty.records()):
            await asyncio.sleep(0.05)
    assert SCAN.found(faulty.log.read_bytes()) == []


async def test_an_abort_dumps_neither_values_nor_memory(faulty: Faulty, engines: EmbeddedMesh) -> None:
    """The fault handler prints where each thread was; the kernel writes no core. Afterwards all that was left behind is searched."""
    with pytest.raises(grpc.aio.AioRpcError):
        await faulty.put("process-aborts")
    assert await faulty.child.wait() == -6
    log = faulty.log.read_bytes()
    assert b"Fatal Python error: Aborted" in log
    assert b"in _process_aborts" in log
    assert not [path for path in faulty.child.spec.cwd.glob("core*") if path.is_file()]
    with engines.admin.connect(autocommit=True) as connection:
        content = [*tables(connection), *await messages(engines), *files(faulty.folder)]
    names = "\n".join(name for name, _ in content)
    assert "secure_bot_data.secrets" in names
    assert any(b"unexpected exception" in data for name, data in content if name.startswith("LOGS/"))
    assert SCAN.report(content) == {}
