"""Every setting that a process declares is in docs/configuration.md, with default, unit and meaning."""

import pytest

from services.authentication.settings import DEFINITIONS as AUTHENTICATION
from services.configuration.settings import DEFINITIONS as CONFIGURATION
from tools.settings_table import PAGE, definitions, table, with_table


def test_the_page_is_what_the_code_says() -> None:
    """An operator reads the page; `python -m tools.settings_table` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert table() in page
    assert with_table(page) == page


def test_no_definition_is_overlooked() -> None:
    """The table is found by looking, so it is tried on what is known to be there."""
    keys = [definition.key for definition in definitions()]
    assert {definition.key for definition in (*AUTHENTICATION, *CONFIGURATION)} <= set(keys)
    assert {"bot_manager.publish.max_attempts", "authentication.step_up.max_age"} <= set(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("definition", definitions(), ids=lambda definition: definition.key)
def test_a_setting_says_what_it_is_in_a_sentence(definition: object) -> None:
    """A key and a number are no documentation."""
    description = getattr(definition, "description")  # noqa: B009 - of a parametrised object
    assert len(description) > 20
    assert description.endswith(".")
