"""`vivesphere settings …`: settings of a running mesh, over its public REST API, for people and for scripts.

Tables are for people; with `--json` the server's own answers are printed. Who asks, and the exit codes: `cli.access`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.access import access, print_json, signed_in, tell

if TYPE_CHECKING:
    from cli.rest import Api

FOLDER = "/api/v1/settings"
PAGE = 200
_DEFAULT = "[dim](default)[/]"

settings = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
settings.callback(help="Settings of a running mesh.")(access)
_console = Console()

KeyArgument = Annotated[
    str, typer.Argument(help="Name of the setting, such as bot_manager.publish.max_attempts.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the server's answer instead of a table.")]
EtagOption = Annotated[str, typer.Option("--etag", help="Change only if the setting still has this etag.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Why, for those who read the history.")]


@settings.command("get")
def get(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="Name of the setting; all of them without one.")] = None,
    filter_: Annotated[
        str, typer.Option("--filter", help="Which ones, such as 'key = \"logging.*\" AND modified = true'.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show one setting, or list all."""
    with signed_in(context) as api:
        if key is not None:
            _show(api.get(_path(key)), as_json)
            return
        found = list(_pages(api, FOLDER, "settings", filter=filter_))
    if as_json:
        print_json({"settings": found})
        return
    table = Table("setting", "value", "unit", "changed", box=None, pad_edge=False)
    for setting in found:
        changed = setting.get("updateTime", "") if setting.get("modified") else _DEFAULT
        unit = setting.get("definition", {}).get("unit", "")
        table.add_row(setting["key"], _text(setting.get("value"), "value" in setting), unit, changed)
    _console.print(table)


@settings.command("set", context_settings={"ignore_unknown_options": True})  # -5 is a value
def set_value(
    context: typer.Context,
    key: KeyArgument,
    value: Annotated[str, typer.Argument(help="JSON; what is no JSON is taken as a text.")],
    etag: EtagOption = "",
    comment: CommentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store a value."""
    with signed_in(context) as api:
        body = {"value": parse_value(value), "etag": etag, "comment": comment}
        _show(api.call("PATCH", _path(key), body), as_json)


@settings.command("reset")
def reset(
    context: typer.Context, key: KeyArgument, etag: EtagOption = "", comment: CommentOption = ""
) -> None:
    """Go back to the default."""
    with signed_in(context) as api:
        api.call("DELETE", _path(key), None, etag=etag, comment=comment)


@settings.command("history")
def history(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Name of the setting; all of them without one.")] = "-",
    limit: Annotated[int, typer.Option(min=1, help="At most this many changes.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what changed, newest first."""
    with signed_in(context) as api:
        found = []
        for revision in _pages(api, f"{_path(key)}/revisions", "revisions", size=min(limit, PAGE)):
            found.append(revision)
            if len(found) == limit:
                break
    if as_json:
        print_json({"revisions": found})
        return
    table = Table("revision", "when", "who", "setting", "from", "to", "why", box=None, pad_edge=False)
    for item in found:
        table.add_row(
            item["revision"], item["createTime"], item["actor"], item["key"], *_sides(item), _why(item)
        )
    _console.print(table)


@settings.command("diff")
def diff(
    context: typer.Context,
    from_revision: Annotated[int, typer.Argument(min=0, help="First state; 0: all defaults.")],
    to_revision: Annotated[int, typer.Argument(min=0, help="Second state; 0: the newest.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show how settings differ between two revisions."""
    with signed_in(context) as api:
        found = api.get(f"{FOLDER}:diff", fromRevision=from_revision, toRevision=to_revision)
    if as_json:
        print_json(found)
    else:
        _show_diffs(found.get("diffs", []))


@settings.command("rollback")
def rollback(
    context: typer.Context,
    key: KeyArgument,
    revision: Annotated[int, typer.Argument(min=1, help="Revision after which it had the wanted value.")],
    etag: EtagOption = "",
    comment: CommentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a setting the value that it had at a revision."""
    with signed_in(context) as api:
        body = {"revision": revision, "etag": etag, "comment": comment}
        _show(api.post(f"{_path(key)}:rollback", body), as_json)


@settings.command("export")
def export(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else stdout.")] = None,
    defaults: Annotated[bool, typer.Option("--defaults", help="Write defaults too, marked as such.")] = False,
) -> None:
    """Write settings as YAML that `import` reads; sensitive ones are left out."""
    with signed_in(context) as api:
        text = api.text(f"{FOLDER}:export", includeDefaults="true" if defaults else "false")
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, encoding="utf-8")


@settings.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="YAML as `export` writes it; - reads stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare only.")] = False,
    reset_others: Annotated[
        bool, typer.Option("--reset-others", help="Reset settings that the file does not name.")
    ] = False,
    comment: CommentOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store the values of a YAML file in one revision, all or none."""
    with signed_in(context) as api:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        body = {"yaml": text, "dryRun": dry_run, "resetOthers": reset_others, "comment": comment}
        done = api.post(f"{FOLDER}:import", body)
    problems = done.get("problems", [])
    if as_json:
        print_json(done)
    else:
        _show_diffs(done.get("diffs", []))
        for problem in problems:
            tell(f"line {problem.get('line', 0)}: {problem.get('key', '')}: {problem['description']}")
        if done.get("revision", "0") != "0":
            _console.print(f"revision {done['revision']}", highlight=False)
    if problems:
        raise typer.Exit(1)


@settings.command("watch")
def watch(
    context: typer.Context,
    from_revision: Annotated[
        int, typer.Option("--from-revision", min=0, help="Known already; 0: only what changes from now on.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line, bookmarks too.")] = False,
) -> None:
    """Follow changes until Ctrl-C; lost connections are taken up again where they ended."""
    from cli.settings_watch import follow

    with signed_in(context) as api:
        for event in follow(api, context.obj.credential, from_revision):
            if as_json:
                sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            else:
                for change in event.get("transaction", {}).get("changes", []):
                    old, new = _sides(change)
                    line = (
                        f"{change['revision']}  {escape(change['key'])}  {old} → {new}  by {change['actor']}"
                    )
                    _console.print(f"{line}  {_why(change)}".rstrip(), highlight=False, soft_wrap=True)


def parse_value(text: str) -> Any:
    """JSON as what it says, anything else as a text: `5`, `true`, `[1, 2]`, `hello`, `"5"`."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _path(key: str) -> str:
    from urllib.parse import quote

    return f"{FOLDER}/{quote(key, safe='')}"


def _pages(api: "Api", path: str, name: str, size: int = PAGE, **query: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        page = api.get(path, pageSize=size, pageToken=token, **query)
        yield from page.get(name, [])
        token = page.get("nextPageToken", "")
        if not token:
            return


def _show(setting: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(setting)
        return
    definition = setting.get("definition", {})
    table = Table.grid(padding=(0, 2))
    table.add_row("setting", setting["key"])
    table.add_row("value", _text(setting.get("value"), "value" in setting))
    if definition.get("unit"):
        table.add_row("unit", definition["unit"])
    table.add_row("default", _text(definition.get("defaultValue"), "defaultValue" in definition))
    table.add_row("revision", setting.get("revision", "0"))
    table.add_row("etag", setting.get("etag", ""))
    if setting.get("updateTime"):
        table.add_row("changed", f"{setting['updateTime']} by {setting.get('updateActor', '')}")
    if setting.get("pendingChangeId"):
        table.add_row("pending", setting["pendingChangeId"])
    table.add_row("meaning", escape(definition.get("description", "")))
    _console.print(table)


def _show_diffs(diffs: list[dict[str, Any]]) -> None:
    if not diffs:
        _console.print("no difference")
        return
    table = Table("setting", "from", "to", box=None, pad_edge=False)
    for item in diffs:
        table.add_row(item["key"], *_sides(item))
    _console.print(table)


def _sides(item: dict[str, Any]) -> tuple[str, str]:
    return (
        _text(item.get("oldValue"), "oldValue" in item, _DEFAULT),
        _text(item.get("newValue"), "newValue" in item, _DEFAULT),
    )


def _text(value: Any, given: bool, otherwise: str = "[dim](hidden)[/]") -> str:
    return escape(json.dumps(value, ensure_ascii=False)) if given else otherwise


def _why(item: dict[str, Any]) -> str:
    return escape(item.get("comment", ""))
