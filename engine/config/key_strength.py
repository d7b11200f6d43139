"""Which keys are too weak to guard anything: those that are short, and those whose length says nothing.

Owns: the judgement of API keys and signing keys. It finds what nobody would call random, and nothing more: whether a
key was drawn at random cannot be seen.
Source: docs/settings.md.
"""

from itertools import pairwise

KEY_CHARACTERS = 16
_DIFFERENT = 5
ADVICE = "make one with `openssl rand -base64 32`"


def weakness(key: str) -> str | None:
    """Return what is wrong with a key, None if nothing is seen."""
    if len(key) < KEY_CHARACTERS:
        return f"has fewer than {KEY_CHARACTERS} characters"
    if len(set(key)) < _DIFFERENT:
        return f"has fewer than {_DIFFERENT} different characters"
    if len(_repeated(key)) < min(KEY_CHARACTERS, len(key)):
        return "repeats a few characters"
    steps = {ord(after) - ord(before) for before, after in pairwise(key)}
    if len(steps) == 1:
        return "is a row of neighbouring characters"
    return None


def _repeated(key: str) -> str:
    """Return the shortest text that makes up the key, repeated, the last time cut off or not; else the key."""
    for size in range(1, len(key) // 2 + 1):
        if (key[:size] * (len(key) // size + 1)).startswith(key):
            return key[:size]
    return key
