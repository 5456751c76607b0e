"""docs/publishing.md says what the code does."""

import pytest

from services.bot_manager.domain.model import PostState
from services.bot_manager.domain.reconciling import LEAST_CLEAN, SKEW, Window
from services.bot_manager.publishing.settings import DEFINITIONS, Publish, PublishSettings
from tools.post_states import PAGE, diagram, with_diagram

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_diagram_is_the_table() -> None:
    """`python -m tools.post_states` writes it."""
    assert diagram() in TEXT
    assert with_diagram(TEXT) == TEXT


def test_the_guarantee_names_its_window() -> None:
    """A guarantee without its numbers is none."""
    window: Window = PublishSettings.of(Publish.of()).window
    marks = ", ".join(f"{mark.total_seconds():g}" for mark in window.marks()[:-1])
    assert f"{marks} and {window.length.total_seconds():g} seconds" in TEXT
    assert f"at least {LEAST_CLEAN} complete" in TEXT
    assert f"{SKEW.total_seconds() / 60:g} minutes" in TEXT


@pytest.mark.parametrize("state", PostState)
def test_every_state_is_explained(state: PostState) -> None:
    """People meet them in lists and filters."""
    assert f"| `{state.value}` |" in TEXT


def test_settings_that_the_page_names_exist() -> None:
    """A name that is wrong is found out in an emergency."""
    known = {definition.key for definition in DEFINITIONS} | {"bot_manager.publish.max_lateness"}
    named = {word.strip("`.,;:()") for word in TEXT.split() if word.startswith("`bot_manager.publish.")}
    assert named
    assert named <= known
