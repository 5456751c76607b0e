"""What to look for in the logs: options of the command line → parameters of the REST API."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from cli.rest import Parameter


class Category(StrEnum):
    """Kinds of log, as they are typed."""

    USER_ACTIVITY = "user-activity"
    DEBUG = "debug"
    TERMINAL = "terminal"
    CONSOLE = "console"


Severity = Literal["trace", "debug", "info", "warn", "error", "fatal"]

TextArgument = Annotated[
    str | None,
    typer.Argument(
        help='Words to find: all of them, "quoted" for a phrase, OR between two, - before one to leave out.'
    ),
]
CategoryOption = Annotated[
    list[Category] | None, typer.Option("--category", "-c", help="Only these kinds of log; may be repeated.")
]
SeverityOption = Annotated[
    Severity | None, typer.Option("--severity", "-s", help="Only records that matter at least so much.")
]
ServiceOption = Annotated[str, typer.Option("--service", help="Only of this service, such as bot_manager.")]
ActorOption = Annotated[str, typer.Option("--actor", help="Only of this user or service.")]
BotOption = Annotated[str, typer.Option("--bot", help="Only about this bot.")]
RequestOption = Annotated[str, typer.Option("--request", help="Only of the call with this id.")]
TraceOption = Annotated[str, typer.Option("--trace", help="Only of the trace with this id.")]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option("--attribute", "-a", help="name=value: only with this attribute; may be repeated."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="From this time on: 30s, 15m, 2h, 7d ago, or 2026-01-31T12:00Z.")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Before this time; as --since.")]

_EQUAL: Final = {
    "service": "service",
    "actor": "actor",
    "bot": "botId",
    "request": "requestId",
    "trace": "traceId",
}
_AGO: Final = re.compile(r"(\d+)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def filters(options: Mapping[str, Any]) -> "dict[str, Parameter]":
    """Parameters of a search, from the options of a command by their names; what restricts nothing is left out. Raises typer.BadParameter."""
    now = datetime.now(UTC)
    severity = options["severity"]
    found: dict[str, Parameter] = {
        "text": options["text"] or "",
        "categories": [f"LOG_CATEGORY_{kind.name}" for kind in options["category"] or ()],
        "minSeverity": f"SEVERITY_{severity.upper()}" if severity else "",
        **{name: options[option] for option, name in _EQUAL.items()},
        "startTime": _stamp(options.get("since"), now, "--since"),
        "endTime": _stamp(options.get("until"), now, "--until"),
        **_attributes(options["attribute"] or ()),
    }
    return {name: value for name, value in found.items() if value or "[" in name}


def _attributes(pairs: Sequence[str]) -> Mapping[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{pair!r} is not name=value", param_hint="--attribute")
        found[f"attributes[{name}]"] = value
    return found


def _stamp(text: str | None, now: datetime, option: str) -> str:
    return "" if text is None else moment(text, now, option).isoformat().replace("+00:00", "Z")


def moment(text: str, now: datetime, option: str) -> datetime:
    """`2h` is two hours before `now`; else a time as ISO 8601, of this machine's zone unless it names one."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a time like 2026-01-31T12:00Z nor an age like 30s, 15m, 2h, 7d",
            param_hint=option,
        ) from None
