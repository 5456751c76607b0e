"""What the README and the page about signing in tell people to type works as it is written."""

import re
from pathlib import Path

from tests.e2e.conftest import Running
from tests.e2e.pages import text_of, typed


def test_the_quick_start_does_what_it_says(running: Running, tmp_path: Path) -> None:
    """The first thing that a newcomer tries."""
    shown = typed(text_of("README.md"), running, tmp_path)
    assert '"verified":true' in shown.replace(" ", "")
    assert "Hello, world" in shown
    assert "vivesphere.bot_manager.v1.PostService" in shown
    assert '"handle": "hello_bot"' in shown
    assert "INVALID_FIELD" in shown


def test_the_page_about_signing_in_does_what_it_says(running: Running, tmp_path: Path) -> None:
    """From the first administrator to a browser's cookies; each refusal that the page announces comes, and no other."""
    shown = typed(text_of("docs/authentication.md"), running, tmp_path)
    refused = re.findall(r'"reason": ?"([A-Z_]+)"', shown)
    assert refused == ["SECOND_FACTOR_REQUIRED", "CROSS_ORIGIN_REFUSED", "TOKEN_INVALID"], shown
    for told in ('"permissions":["*"]', "the same successor", "recoveryCodes", '"active":true', "verified 0"):
        assert told in shown, shown
