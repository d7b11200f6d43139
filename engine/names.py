"""Names that a user wrote, beside the names that are known."""

from collections.abc import Iterable


def correct_case(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs from a name only by case, or None. A known name has none."""
    return next((each for each in known if each != name and each.lower() == name.lower()), None)
