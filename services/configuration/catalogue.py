"""Every permission that a method of any contract requires, read from the contracts' access options. There is no second list."""

import pkgutil
from collections import defaultdict

import vivesphere
from mesh.contract import MethodPolicy, Who, policies_of, services_of
from services.configuration.domain.role import Catalogue, Permission

_WITHOUT_METHODS = frozenset({"mesh"})
"""Packages below `vivesphere` that hold shared messages only."""


def read_methods() -> dict[str, MethodPolicy]:
    """Access rules of all methods of all contracts, by full name without a leading slash. Raises ContractError."""
    return {
        path.removeprefix("/"): policy
        for package in pkgutil.iter_modules(vivesphere.__path__)
        if package.name not in _WITHOUT_METHODS
        for path, policy in policies_of(services_of(package.name)).items()
    }


def read_catalogue() -> Catalogue:
    """The permissions of all contracts that this process was built with. Imports their generated code; raises ContractError."""
    methods: defaultdict[str, list[str]] = defaultdict(list)
    per_bot: set[str] = set()
    for name, policy in read_methods().items():
        if policy.who is Who.PERMISSION:
            methods[policy.permission].append(name)
            if policy.bot_field:
                per_bot.add(policy.permission)
    return Catalogue(
        Permission(name, tuple(sorted(paths)), name in per_bot) for name, paths in methods.items()
    )
