"""`vivesphere logs …`: logs of a running mesh, over its public REST API.

On a terminal records are lines in colour, the newest last; a program behind a pipe, or whoever says `--json`, gets the server's own records,
one a line. Who asks, and the exit codes: `cli.access`. Ctrl-C and a reader that goes away end a command quietly.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.access import access, signed_in, tell
from cli.errors import CliError
from cli.logs_filter import (
    ActorOption,
    AttributeOption,
    BotOption,
    CategoryOption,
    RequestOption,
    ServiceOption,
    SeverityOption,
    SinceOption,
    TextArgument,
    TraceOption,
    UntilOption,
    filters,
)

if TYPE_CHECKING:
    from cli.rest import Api, Parameter

FOLDER = "/api/v1/logs"
PAGE = 1000
SEARCH_SECONDS = 35.0
"""The gateway waits 30 seconds for a search."""
MAX_RECORDS = 10_000
MAX_LAST = 1000

logs = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
logs.callback(help="Logs of a running mesh.")(access)

JsonOption = Annotated[bool, typer.Option("--json", help="One record as JSON a line, also on a terminal.")]


@logs.command("query")
def query(
    context: typer.Context,
    text: TextArgument = None,
    category: CategoryOption = None,
    severity: SeverityOption = None,
    service: ServiceOption = "",
    actor: ActorOption = "",
    bot: BotOption = "",
    request: RequestOption = "",
    trace: TraceOption = "",
    attribute: AttributeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=MAX_RECORDS, help="At most this many records.")
    ] = 50,
    oldest: Annotated[
        bool, typer.Option("--oldest", help="The oldest records that match instead of the newest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show records that match all filters, the newest last."""
    from cli.logs_view import LogView

    wanted = filters(context.params)
    wanted["order"] = "LOG_ORDER_OLDEST_FIRST" if oldest else "LOG_ORDER_NEWEST_FIRST"
    with signed_in(context, SEARCH_SECONDS) as api, _quietly():
        found = list(_records(api, wanted, limit))
        view = LogView(as_json=as_json)
        for record in found if oldest else reversed(found):
            view.record(record)


@logs.command("tail")
def tail(
    context: typer.Context,
    text: TextArgument = None,
    category: CategoryOption = None,
    severity: SeverityOption = None,
    service: ServiceOption = "",
    actor: ActorOption = "",
    bot: BotOption = "",
    request: RequestOption = "",
    trace: TraceOption = "",
    attribute: AttributeOption = None,
    last: Annotated[
        int,
        typer.Option("--last", "-n", min=0, max=MAX_LAST, help="Begin with so many of the newest records."),
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Follow records that match all filters until Ctrl-C; lost connections are taken up again where they ended."""
    from cli.logs_tail import follow
    from cli.logs_view import LogView

    wanted = filters(context.params)
    with signed_in(context) as api, _quietly():
        view = LogView(as_json=as_json)
        for item in follow(api, context.obj.credential, wanted, last, _lost):
            view.tail_item(item)


@logs.command("export")
def export(
    context: typer.Context,
    text: TextArgument = None,
    category: CategoryOption = None,
    severity: SeverityOption = None,
    service: ServiceOption = "",
    actor: ActorOption = "",
    bot: BotOption = "",
    request: RequestOption = "",
    trace: TraceOption = "",
    attribute: AttributeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most this many records; 0: all.")
    ] = 0,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest records first.")] = False,
    form: Annotated[
        Literal["ndjson", "csv"],
        typer.Option("--format", "-f", help="JSON lines, or a table for spreadsheets."),
    ] = "ndjson",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else stdout.")] = None,
) -> None:
    """Write all records that match all filters, as they are now."""
    wanted = filters(context.params)
    wanted |= {
        "order": "LOG_ORDER_OLDEST_FIRST" if oldest else "LOG_ORDER_NEWEST_FIRST",
        "format": f"LOG_EXPORT_FORMAT_{form.upper()}",
        "limit": limit,
    }
    with signed_in(context) as api, _quietly():
        pieces = _whole(api.download(f"{FOLDER}:export", **wanted))
        if output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            _write(output, pieces)


def _records(api: "Api", wanted: "dict[str, Parameter]", limit: int) -> Iterator[dict[str, Any]]:
    token, left = "", limit
    while left:
        page = api.get(FOLDER, pageSize=min(left, PAGE), pageToken=token, **wanted)
        records = page.get("records", [])
        yield from records
        left -= len(records)
        token = page.get("nextPageToken", "")
        if not token:
            return


def _whole(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a file. Raises CliError if it broke off."""
    import httpx

    try:
        yield from pieces
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise CliError(f"the export broke off and is not complete: {error}") from None


def _write(file: Path, pieces: Iterator[bytes]) -> None:
    """Whole or not at all: a file that broke off has another name until it is removed."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            out.writelines(pieces)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _lost(why: str) -> None:
    tell(f"connection lost ({why}); trying again")


@contextmanager
def _quietly() -> Iterator[None]:
    """Ctrl-C, and a reader such as `head` that has enough, are no failures."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # What is left in Python's buffer would fail again at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
