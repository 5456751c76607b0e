"""Services that are complete stay so: every method of their contracts is served."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pool

from mesh.contract import services_of

COMPLETE = ("authentication", "bot_manager", "configuration", "secure_bot_data", "logging")


def classes(service: str) -> Iterator[type]:
    """Every class in the service's servicers."""
    package = importlib.import_module(f"services.{service}.servicers")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        loaded = importlib.import_module(module.name)
        for _, found in inspect.getmembers(loaded, inspect.isclass):
            if found.__module__ == module.name:
                yield found


@pytest.mark.parametrize("service", COMPLETE)
def test_every_method_of_a_complete_service_is_served(service: str) -> None:
    """What is in a contract and not behind it is a promise broken at the first call."""
    missing = []
    for full_name in services_of(service):
        name = full_name.rpartition(".")[2]
        [servicer] = [
            found
            for found in classes(service)
            if f"{name}Servicer" in {b.__name__ for b in found.__mro__[1:]}
        ]
        methods = descriptor_pool.Default().FindServiceByName(full_name).methods
        missing += [f"{name}.{method.name}" for method in methods if method.name not in vars(servicer)]
    assert missing == []
