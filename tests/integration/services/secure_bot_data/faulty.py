"""secure_bot_data with defects: `python -m tests.integration.services.secure_bot_data.faulty`.

The real service, but encrypting fails in a way that the secret's name asks for, with the values at hand in clear: as a defect of ours
or of a library would. Nothing else is different.
"""

import asyncio
import gc
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from loguru import logger

from mesh.process import run
from mesh.secret import Secret
from services.secure_bot_data.assembly import assemble
from services.secure_bot_data.domain.model import Description, SealedVersion, SecretRef
from services.secure_bot_data.store.vault import VaultSecrets


def _object_in_arguments(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    raise RuntimeError("cannot keep", fields)


def _local_in_library(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    json.dumps({**plain, "unknown": object()})


def _text_quotes_value(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    int(next(iter(plain.values())))


def _cause_quotes_value(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    try:
        {}[next(iter(plain.values()))]
    except KeyError as error:
        raise ValueError(f"no {plain}") from error


def _group_quotes_values(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    raise ExceptionGroup(str(plain), [ValueError(value) for value in plain.values()])


def _thread_dies(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    thread = threading.Thread(target=int, args=tuple(plain.values())[:1])
    thread.start()
    thread.join()


def _callback_fails(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    asyncio.get_running_loop().call_soon(int, next(iter(plain.values())))


def _task_is_forgotten(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError(plain))
    del future
    gc.collect()


def _finalizer_fails(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    class Careless:
        def __del__(self) -> None:
            int(str(plain))

    Careless()
    gc.collect()


def _object_is_logged(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    logger.bind(fields=fields, secret=next(iter(fields.values())), password=plain).debug("kept")
    logger.opt(exception=True).bind(client_secret=str(plain)).error("{}", fields)


def _process_aborts(fields: Mapping[str, Secret], plain: dict[str, str]) -> None:
    os.abort()


FAULTS: Mapping[str, Callable[[Mapping[str, Secret], dict[str, str]], None]] = {
    fault.__name__.strip("_").replace("_", "-"): fault
    for fault in (
        _object_in_arguments,
        _local_in_library,
        _text_quotes_value,
        _cause_quotes_value,
        _group_quotes_values,
        _thread_dies,
        _callback_fails,
        _task_is_forgotten,
        _finalizer_fails,
        _object_is_logged,
        _process_aborts,
    )
}
"""By the name of the secret that asks for it."""


class _Faulty(VaultSecrets):
    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        plain: dict[str, Any] = {name: secret.reveal() for name, secret in fields.items()}
        FAULTS[ref.name](fields, plain)
        return await super().seal(ref, version, fields, description)


if __name__ == "__main__":
    # The assembly names the class; a second assembly here would drift from it.
    assemble.__globals__["VaultSecrets"] = _Faulty
    run("secure_bot_data", assemble)
