"""The diagram of a post's states in docs/publishing.md, written from the table in code: `python -m tools.post_states`.

Events that lead from a state to itself are left out, and so is DELETE, which leads nowhere. A test holds the page against it.
"""

from collections import defaultdict
from pathlib import Path

from services.bot_manager.domain.lifecycle import POST_TABLE, PostEvent

PAGE = Path(__file__).resolve().parents[1] / "docs" / "publishing.md"
BEGIN, END = "<!-- states -->", "<!-- /states -->"


def diagram() -> str:
    """The diagram in Mermaid: one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event, row in POST_TABLE.items():
        for before, after in row.items():
            if before is not after and event is not PostEvent.DELETE:
                arrows[before.value, after.value].append(event.value)
    lines = [
        f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in sorted(arrows.items())
    ]
    return "\n".join(
        ["```mermaid", "stateDiagram-v2", "    [*] --> DRAFT", *lines, "    PUBLISHED --> [*]", "```", ""]
    )


def with_diagram(page: str) -> str:
    """The page with the diagram of now between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
