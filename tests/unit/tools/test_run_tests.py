"""No test is left out because tests run in two groups, and no failure is swallowed."""

import sys

import pytest

from tools import run_tests


def test_the_groups_are_all_tests_once() -> None:
    """A folder that is in neither would be green for ever."""
    first, second = run_tests.commands(["-x"])
    folders = {path.name for path in (run_tests.ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}
    named = {one.removeprefix("tests/") for one in run_tests.WHOLE_MESH}
    assert named < folders
    assert set(first) >= {*run_tests.WHOLE_MESH, "-x"}
    assert [one.removeprefix("--ignore=") for one in second if one.startswith("--ignore=")] == [
        *run_tests.WHOLE_MESH
    ]


@pytest.mark.parametrize(("statuses", "expected"), [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((2, 1), 2)])
def test_a_failure_of_either_is_a_failure(
    statuses: tuple[int, int], expected: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """And what the group in the background said is shown."""
    code = "import sys; print('said', sys.argv[1]); sys.exit(int(sys.argv[1]))"
    first, second = ([sys.executable, "-c", code, str(status)] for status in statuses)
    assert run_tests.side_by_side(first, second) == expected
    assert f"said {statuses[0]}" in capfd.readouterr().out
