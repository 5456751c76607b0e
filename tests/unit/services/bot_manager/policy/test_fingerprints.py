"""Texts are recognised again, and likened as far as they are alike."""

import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from services.bot_manager.domain.policy.fingerprints import (
    BINS,
    agreement,
    comparable,
    exact_key,
    fingerprint,
    shingles,
    signature,
    similarity,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(draw: random.Random) -> str:
    return "".join(draw.choices(LETTERS, k=draw.randint(2, 9)))


def sentence(draw: random.Random) -> list[str]:
    return [word(draw) for _ in range(40)]


def altered(draw: random.Random, words: list[str], count: int) -> str:
    changed = list(words)
    for place in draw.sample(range(len(words)), count):
        changed[place] = word(draw)
    return " ".join(changed)


def test_the_estimate_is_near_the_truth() -> None:
    """Over many pairs of every similarity: without bias, and with the spread of 32 draws."""
    draw = random.Random(1)  # noqa: S311 - the same texts every time
    errors = []
    for number in range(300):
        words = sentence(draw)
        one, other = " ".join(words), altered(draw, words, number % 30)
        errors.append(agreement(signature(one), signature(other)) - similarity(one, other))
    assert abs(sum(errors) / len(errors)) < 0.03
    assert (sum(error * error for error in errors) / len(errors)) ** 0.5 < 1.3 * (0.25 / BINS) ** 0.5


def test_near_duplicates_share_a_band() -> None:
    """Of pairs at or above the threshold hardly one is missed; of texts that have nothing in common hardly one is looked at."""
    draw = random.Random(2)  # noqa: S311 - the same texts every time
    near = seen = 0
    for _ in range(300):
        words = sentence(draw)
        text, like, stranger = " ".join(words), altered(draw, words, 3), " ".join(sentence(draw))
        if similarity(text, like) >= 0.8:
            near, seen = near + 1, seen + bool(bands(text) & bands(like))
        assert not bands(text) & bands(stranger)
    assert near > 100
    assert seen >= 0.95 * near


def bands(text: str) -> set[int]:
    made = fingerprint(text)
    return set(made.bands) if made else set()


@given(st.text(max_size=300))
def test_a_text_always_has_the_same_fingerprint(text: str) -> None:
    """However it is written: case, white space and forms of the same characters do not hide a repeat."""
    first = fingerprint(text)
    assert fingerprint(text) == first
    assert exact_key(text) == (first.exact if first else None)
    assert (first is None) == (not comparable(text))
    assert comparable(comparable(text)) == comparable(text)
    assert fingerprint(f"  {text}\n") == first


@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_a_share(one: str, other: str) -> None:
    """Between 0 and 1, the same both ways, and 1 only for the same shingles."""
    one, other = comparable(one), comparable(other)
    likeness = similarity(one, other)
    assert 0 <= likeness <= 1
    assert likeness == similarity(other, one)
    assert (likeness == 1) == (one == other or (shingles(one) == shingles(other) != frozenset()))


def test_fingerprints_are_those_of_every_process() -> None:
    """They are stored: no hash of this process only may be in them."""
    text = "the ferry to the islands leaves at noon"
    code = f"from services.bot_manager.domain.policy.fingerprints import fingerprint; print(fingerprint({text!r}).keys)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    made = fingerprint(text)
    assert made is not None
    assert told.stdout.strip() == str(made.keys)


def test_short_texts_are_only_ever_the_same() -> None:
    """Two greetings are not near-duplicates because they share a few letters."""
    made = fingerprint("hi all")
    assert made is not None
    assert made.bands == ()
