"""Members of JSON objects, in bodies and in parameters, that would be ignored or lost by mistake: they are refused.

Source: docs/contract.md D.8 and D.19.
"""

from collections.abc import Collection, Iterator
from typing import Any

from api.http.problems import InvalidParameter
from engine.events.repeated_members import find_repeated_name
from engine.names import correct_case
from engine.texts import truncate


def refuse_misspelt_case(names: Iterator[str], known: Collection[str]) -> None:
    """Refuse members of a body that differ from a known member only by case. Raises: InvalidParameter."""
    for name in names:
        if name not in known and (correct := correct_case(name, known)):
            raise InvalidParameter(f'invalid request body: "{name}" is unknown, did you mean "{correct}"?')


def refuse_duplicate_members(where: str, text: bytes, parsed: Any) -> None:
    """Refuse JSON in which an object has a member twice, as one of the two would be lost. Raises: InvalidParameter.

    Args: where: the beginning of the error message. text: the JSON. parsed: the same JSON, parsed.
    """
    duplicate = find_repeated_name(text, parsed)
    if duplicate is not None:
        raise InvalidParameter(f'{where}: member "{truncate(duplicate)}" appears twice')
