"""Lines that somebody could hope to break a log with: forged records, control characters, broken encodings, depth and length."""

import json
import random
import string
from collections.abc import Callable, Iterator

MiB = 1024 * 1024
SEVERED = ("\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
CONTROLS = (
    "\x00",
    "\x07",
    "\x08",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x9b31m",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\x7f",
)

Maker = Callable[[random.Random], str]


def _letters(dice: random.Random) -> str:
    return "".join(dice.choices(string.printable, k=dice.randrange(200)))


def _any_code_points(dice: random.Random) -> str:
    """Lone surrogates and unassigned ones among them."""
    return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(60)))


def _severed(dice: random.Random) -> str:
    forged = '{"time":"2026-01-01","severity":"INFO","body":"all is well","service":"tester","instance":"tester-1"}'
    return f"{_letters(dice)}{dice.choice(SEVERED)}{forged}{dice.choice(SEVERED)}"


def _controls(dice: random.Random) -> str:
    return "".join(dice.choice((dice.choice(CONTROLS), _letters(dice)[:9])) for _ in range(12))


def _fake_json(dice: random.Random) -> str:
    return json.dumps({"time": _letters(dice), "body": {"a": [_letters(dice)]}})[: dice.randrange(9, 90)]


def _deep(dice: random.Random) -> str:
    depth = dice.randrange(2000)
    return dice.choice(("[" * depth, '{"a":' * depth, "(" * depth, "\\" * depth, '"' * depth))


def _format(dice: random.Random) -> str:
    return (
        dice.choice(("{}", "{0.__class__}", "%s", "%(x)s", "{message}", "<red>", "\\{", "{{", "{!r:>99}")) * 3
    )


def _binary(dice: random.Random) -> str:
    return dice.randbytes(dice.randrange(300)).decode("utf-8", "surrogateescape")


def _huge(dice: random.Random) -> str:
    return dice.choice(("x", "\u20ac", "\ud800", "\x1b[1m", "a b ", '"', "\\")) * (MiB // 8)


MAKERS: tuple[Maker, ...] = (
    _letters,
    _any_code_points,
    _severed,
    _controls,
    _fake_json,
    _deep,
    _format,
    _binary,
)


def hostile(count: int, seed: int) -> Iterator[str]:
    """Lines of every kind; one in two thousand is huge."""
    dice = random.Random(seed)  # noqa: S311 - made-up lines
    for n in range(count):
        yield _huge(dice) if n % 2000 == 1 else dice.choice(MAKERS)(dice)
