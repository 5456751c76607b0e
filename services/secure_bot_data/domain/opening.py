"""Opening one version: its values if it may give them, else the precise refusal where the vault only says that there is nothing."""

from datetime import datetime

from mesh.errors import NotFound
from services.secure_bot_data.domain.lifecycle import check_readable, refusal
from services.secure_bot_data.domain.model import OpenedVersion, SecretRef, State
from services.secure_bot_data.domain.ports import SecretVault


async def open_readable(vault: SecretVault, ref: SecretRef, version: int, now: datetime) -> OpenedVersion:
    """The version with its values; 0 is the current one.

    Raises NotFound SECRET_NOT_FOUND, FailedPrecondition SECRET_DELETED, SECRET_DESTROYED or SECRET_EXPIRED, and what the vault raises.
    """
    opened = await open_version(vault, ref, version)
    check_readable(opened.version, opened.description, now)
    return opened


async def open_version(vault: SecretVault, ref: SecretRef, version: int) -> OpenedVersion:
    """As `open_readable`, for whoever judges by another clock whether the version has expired."""
    try:
        return await vault.open(ref, version)
    except NotFound as absent:
        for fact in reversed(await vault.facts(ref)):
            if fact.version == version or not version:
                if fact.state is not State.ACTIVE:
                    raise refusal(fact.version, fact.state) from None
                break
        raise absent from None
