"""Reads the whole trail of a running mesh, a page at a time, and makes the lines of an export of it.

The end is signed first, and events are read up to there, so that the export proves its own end whatever happens meanwhile.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cli.access import tell
from cli.audit_file import event_line, event_of, header, written

if TYPE_CHECKING:
    from cli.rest import Api

FOLDER = "/api/v1/audit"
PAGE = 1_000


def export_lines(api: "Api", chain: str) -> Iterator[str]:
    """The lines, one after another. Raises what the API raises."""
    own = api.get(f"{FOLDER}/checkpoint", chain=chain)
    name, end = own["chain"], own.get("sequence", 0)
    tombstones = _tombstones(api, name, end)
    others = list(_keys(api, name, own["verifierKey"]))
    yield header(name, [own["verifierKey"], *others])
    for tombstone in tombstones:
        yield written({"kind": "tombstone", "note": tombstone["note"]})
    events = 0
    for line in _event_lines(api, name, end):
        events += 1
        yield line
    yield written({"kind": "checkpoint", "note": own["note"]})
    checkpoints = 1
    for checkpoint in pages(api, "checkpoints", chain=name):
        if checkpoint.get("sequence", 0) <= end:
            checkpoints += 1
            yield written({"kind": "checkpoint", "note": checkpoint["note"]})
    yield written(
        {"kind": "end", "events": events, "tombstones": len(tombstones), "checkpoints": checkpoints}
    )


def pages(api: "Api", name: str, size: int = PAGE, **query: str) -> Iterator[Mapping[str, Any]]:
    """Every item of a list, page after page."""
    token = ""
    while True:
        page = api.get(f"{FOLDER}/{name}", pageSize=size, pageToken=token, **query)
        yield from page.get(name, [])
        token = page.get("nextPageToken", "")
        if not token:
            return


def _event_lines(api: "Api", chain: str, end: int) -> Iterator[str]:
    for event in pages(api, "events", chain=chain, order="LOG_ORDER_OLDEST_FIRST"):
        if event["sequence"] > end:
            return
        yield event_line(event_of(event))


def _tombstones(api: "Api", chain: str, end: int) -> list[Mapping[str, Any]]:
    """Those there are. The server looks at one event for this question only."""
    answer = api.post(f"{FOLDER}:verify", {"chain": chain, "firstSequence": end, "lastSequence": end})
    if not answer.get("valid"):
        tell(f"the server says that the chain is broken: {answer.get('defect', {}).get('message', '')}")
    return list(answer.get("tombstones", []))


def _keys(api: "Api", chain: str, newest: str) -> Iterator[str]:
    """Verifier keys of earlier versions, from the checkpoints that they signed."""
    seen = {newest}
    for checkpoint in pages(api, "checkpoints", chain=chain):
        key = checkpoint["verifierKey"]
        if key not in seen:
            seen.add(key)
            yield key
