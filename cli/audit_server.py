"""Has the server prove its chain, a part at a time, so that no call takes long however long the chain is."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from services.logging.domain.notes import BadNote, read_note, read_statement

if TYPE_CHECKING:
    from cli.rest import Api

FOLDER: Final = "/api/v1/audit"
PART: Final = 20_000
"""Events a call; the server reads some ten thousand a second."""


class NoCheckpoint(CliError):
    """A file that was given as a checkpoint and is none."""


def proofs(api: "Api", chain: str, notes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The server's answers: one for each checkpoint that was kept, and then one a part of the chain, the last one up to its end."""
    end = api.get(f"{FOLDER}/checkpoint", chain=chain).get("sequence", 0)
    for note in notes:
        sequence = _sequence(note)
        # Up to the newest if it reaches further than the chain does: then something was cut off.
        last = sequence if sequence < end else 0
        answer = _ask(api, chain, sequence, last, checkpointNote=note)
        yield answer | {"checkedCount": 0}
    first = 0
    while first + PART < end:
        yield _ask(api, chain, first, first + PART)
        first += PART + 1
    yield _ask(api, chain, first, 0)


def _ask(api: "Api", chain: str, first: int, last: int, **more: str) -> dict[str, Any]:
    body = {"chain": chain, "firstSequence": first, "lastSequence": last, **more}
    return api.post(f"{FOLDER}:verify", body)


def _sequence(note: str) -> int:
    try:
        return read_statement(read_note(note)).sequence
    except BadNote as error:
        raise NoCheckpoint(f"a checkpoint that was given is none: {error}") from None
