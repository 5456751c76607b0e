"""How `vivesphere up` tells a person what happens: one line an event, in colour and with a spinner on a terminal."""

import contextlib
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from cli.supervisor import Event

_MARKS = {
    "ready": "[green]✓[/]",
    "stopped": "[dim]✓[/]",
    "killed": "[red]✗[/]",
    "crashed": "[red]✗[/]",
    "failed": "[red]✗[/]",
}
_WORDS = {
    "crashed": "is down:",
    "killed": "did not stop in time and was killed",
    "failed": "could not be started again:",
}
_LAST_LINES = 5


class View:
    """Shows events and messages; `with` it for the time in which a spinner may turn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner: Status | None = None
        self._waiting: dict[str, float] = {}

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            self._spinner = self._console.status("starting")
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()

    def rest(self) -> None:
        """Ends the spinner; lines go on."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def show(self, event: Event) -> None:
        """One event of the supervisor."""
        if event.kind in ("starting", "stopping"):
            self._waiting[event.name] = time.monotonic()
        else:
            began = self._waiting.pop(event.name, None)
            seconds = (
                f" in {time.monotonic() - began:.1f} s"
                if began is not None and event.kind != "crashed"
                else ""
            )
            words = _WORDS.get(event.kind, event.kind)
            detail = f" {event.detail}" if event.detail else ""
            self.say(f"{_MARKS[event.kind]} {event.name} {words}{detail}{seconds}")
            for line in event.lines[-_LAST_LINES:]:
                self.say(f"    [dim]{escape(line)}[/]")
        if self._spinner is not None:
            self._spinner.update(f"waiting for {', '.join(self._waiting) or 'the next step'}")

    def say(self, markup: str) -> None:
        """One line, with rich markup. A reader that has gone away must not keep us from stopping in order."""
        with contextlib.suppress(OSError, SystemExit):  # the latter is rich's answer to a broken pipe
            self._console.print(markup, highlight=False, soft_wrap=True)
