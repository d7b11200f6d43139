"""Which keys are too weak: keys that are short, and long keys that are obviously not random.

Owns: the check of API keys and signing keys.
Limits: only keys that are obviously not random are found. The check cannot tell whether a key was generated randomly.
Source: docs/settings.md.
"""

from itertools import pairwise

MIN_KEY_CHARACTERS = 16
_MIN_DIFFERENT = 5
ADVICE = "make one with `openssl rand -base64 32`"


def weakness(key: str) -> str | None:
    """Return what is wrong with a key, to follow the word "key" in a message; None if nothing was found."""
    if len(key) < MIN_KEY_CHARACTERS:
        return f"has fewer than {MIN_KEY_CHARACTERS} characters"
    if len(set(key)) < _MIN_DIFFERENT:
        return f"has fewer than {_MIN_DIFFERENT} different characters"
    if len(_repeated_part(key)) < min(MIN_KEY_CHARACTERS, len(key)):
        return "repeats a few characters"
    steps = {ord(after) - ord(before) for before, after in pairwise(key)}
    if len(steps) == 1:
        return "is a sequence of consecutive characters"
    return None


def _repeated_part(key: str) -> str:
    """Return the shortest text whose repetition gives the key, where the last one may be cut off; otherwise the key."""
    for size in range(1, len(key) // 2 + 1):
        if (key[:size] * (len(key) // size + 1)).startswith(key):
            return key[:size]
    return key
