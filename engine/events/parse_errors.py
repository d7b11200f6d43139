"""What msgspec says of an event that it cannot read, in words for the producer."""

import re


def translate_error(message: str) -> str:
    """Translate a message of msgspec, such as "Object missing required field `id`" to "id is missing"."""
    missing = re.match(r"Object missing required field `(\w+)`", message)
    if missing:
        return f"{missing[1]} is missing"
    problem = re.match(r"Expected `(.+?)`, got `(\w+)` - at `\$\.(\w+)`", message)
    if problem:
        return f"{problem[3]} must be {problem[1].removesuffix(' | null')}, not {problem[2]}"
    return "an event must be a JSON object" if "got `" in message else message


def field_at_fault(message: str) -> str | None:
    """Return the attribute that a message of msgspec is about, or None."""
    found = re.search(r"required field `(\w+)`", message) or re.search(r"at `\$\.(\w+)`", message)
    return found[1] if found else None
