"""`vivesphere audit …`: the trail of a running mesh over its public REST API, and the proof of an export without any mesh.

Who asks, and the exit codes: `cli.access`. `verify` ends with 0 for a sound chain and with 1 for a broken one.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.access import access, print_json, signed_in, tell
from cli.errors import CliError

if TYPE_CHECKING:
    from cli.audit_verify import Verdict

FOLDER = "/api/v1/audit"
PAGE = 1_000
PIPE_WIDTH = 250
"""Of a table that nobody looks at directly: `grep` should find whole words."""
SERVICES = "spiffe://vivesphere/"

audit = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
audit.callback(help="The trail of who did what, and the proof that nobody altered it.")(access)
_console = Console()

ChainOption = Annotated[str, typer.Option("--chain", help="Name of the chain; the current one without it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the server's answer instead.")]


@audit.command("list")
def list_events(
    context: typer.Context,
    actor: Annotated[str, typer.Option(help="Only what this user or service did.")] = "",
    action: Annotated[str, typer.Option(help="Only this, such as CreatePost.")] = "",
    resource: Annotated[
        str, typer.Option(help="Only what was done to this or below it, such as bots/0190….")
    ] = "",
    outcome: Annotated[str, typer.Option(help="Only what ended so, such as PERMISSION_DENIED.")] = "",
    bot: Annotated[str, typer.Option(help="Only what concerns this bot.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 20,
    chain: ChainOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what was done, newest first."""
    from cli.audit_export import pages

    filters = {"actor": actor, "action": action, "resource": resource, "outcome": outcome, "botId": bot}
    with signed_in(context) as api:
        found = []
        for event in pages(api, "events", min(limit, PAGE), chain=chain, **filters):
            found.append(event)
            if len(found) == limit:
                break
    if as_json:
        print_json({"events": found})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("number", "when", "who", "what", "to", "outcome"):
        table.add_column(name, no_wrap=name in ("number", "when"), overflow="fold")
    for event in found:
        actor = event.get("actor", "").removeprefix(SERVICES)
        who = "[dim](erased)[/]" if event.get("erased") else escape(actor)
        what = event.get("action", "").rpartition("/")[2]
        cells = (event.get(name, "") for name in ("resource", "outcome"))
        when = event["time"][:19].replace("T", " ")
        table.add_row(str(event["sequence"]), when, who, escape(what), *map(escape, cells))
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


@audit.command("checkpoint")
def checkpoint(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else stdout.")] = None,
    chain: ChainOption = "",
    as_json: JsonOption = False,
) -> None:
    """Sign the trail's present end. Keep the note elsewhere: `verify --checkpoint` proves with it that nothing was changed before."""
    with signed_in(context) as api:
        found = api.get(f"{FOLDER}/checkpoint", chain=chain)
        if output is not None:
            output.write_text(found["note"], encoding="utf-8")
    if as_json:
        print_json(found)
    elif output is None:
        sys.stdout.write(found["note"])
    tell(f"verifier key: {found['verifierKey']}")


@audit.command("export")
def export(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else stdout.")] = None,
    chain: ChainOption = "",
) -> None:
    """Write the whole trail, oldest first, with everything that proves it: one JSON object a line."""
    from cli.audit_export import export_lines

    with signed_in(context) as api:
        if output is None:
            sys.stdout.writelines(export_lines(api, chain))
        else:
            with output.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(export_lines(api, chain))


@audit.command("verify")
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="An export. Without it the server is asked to prove what it has."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Verifier key that you noted down at set-up; several after the key was rotated."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="File with a checkpoint that you kept: the chain must lead through it."),
    ] = None,
    chain: ChainOption = "",
    as_json: JsonOption = False,
) -> None:
    """Prove that nothing was altered, removed, inserted or moved; else say what and where. Of a FILE: without any network."""
    if file is None:
        _verify_there(context, chain, checkpoint or [], as_json)
        return
    from cli.audit_verify import verify as verify_file

    try:
        notes = [path.read_text(encoding="utf-8") for path in checkpoint or []]
        verdict = verify_file(file, key or [], notes)
    except (CliError, OSError, UnicodeError) as error:
        tell(f"error: {error}")
        raise typer.Exit(1) from None
    if as_json:
        print_json(_plain(verdict))
    else:
        _tell_verdict(verdict, trusted=bool(key))
    if verdict.defect is not None:
        raise typer.Exit(1)


def _verify_there(context: typer.Context, chain: str, checkpoints: list[Path], as_json: bool) -> None:
    from cli.audit_server import proofs

    answer: dict[str, Any] = {}
    checked = 0
    with signed_in(context) as api:
        notes = [path.read_text(encoding="utf-8") for path in checkpoints]
        for answer in proofs(api, chain, notes):
            checked += answer.get("checkedCount", 0)
            if not answer.get("valid"):
                break
    answer["checkedCount"] = checked
    broken = not answer.get("valid")
    if as_json:
        print_json(answer)
    elif not broken:
        counted = f"{answer.get('checkedCount', 0)} events of the chain {answer.get('chain', '')}"
        _say(
            f"[green]sound[/]: {counted} are in place and unaltered, up to number {answer.get('lastSequence', 0)}."
        )
    else:
        defect = answer.get("defect", {})
        kind = defect.get("kind", "").removeprefix("AUDIT_DEFECT_KIND_")
        _say_broken(kind, defect.get("message", ""), defect.get("eventId", ""))
    if broken:
        raise typer.Exit(1)


def _tell_verdict(verdict: "Verdict", *, trusted: bool) -> None:
    if verdict.defect is not None:
        _say_broken(verdict.defect.kind.name, verdict.defect.message, verdict.defect.event_id)
    else:
        erased = f", {verdict.erased} of them erased" if verdict.erased else ""
        _say(
            f"[green]sound[/]: {verdict.events} events of the chain {escape(verdict.chain)}{erased} are in place and unaltered"
            f" (numbers {verdict.first} to {verdict.last}); {verdict.checkpoints} checkpoints and {verdict.tombstones} tombstones"
            " agree."
        )
    if not trusted:
        tell(
            "The signatures were held against the key that the file itself names. Whoever made a false file put his own there:"
            " compare it with the one that you noted down at set-up, or give that with --key."
        )
        for key in verdict.keys:
            tell(f"  {key}")


def _plain(verdict: "Verdict") -> dict[str, Any]:
    defect = verdict.defect
    answer: dict[str, Any] = {
        "valid": defect is None,
        "chain": verdict.chain,
        "checkedCount": verdict.events,
        "firstSequence": verdict.first,
        "lastSequence": verdict.last,
        "lastHash": verdict.last_hash.hex(),
        "checkpointCount": verdict.checkpoints,
        "tombstoneCount": verdict.tombstones,
        "verifierKeys": [str(key) for key in verdict.keys],
    }
    if defect is not None:
        answer["defect"] = {
            "kind": defect.kind.name,
            "sequence": defect.sequence,
            "eventId": defect.event_id,
            "message": defect.message,
        }
    return answer


def _say_broken(kind: str, message: str, event_id: str) -> None:
    which = f" The event's id is {escape(event_id)}." if event_id else ""
    _say(f"[red]BROKEN[/] ({kind}): {escape(message)}{which}")


def _say(markup: str) -> None:
    _console.print(markup, highlight=False, soft_wrap=True)
