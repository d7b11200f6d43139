"""Control characters in texts that users give to meters and subjects.

Owns: the rule which texts must not contain them. An escape code in a name would control the terminal of the user who
lists it. No event has such a `type`, so a meter with one would count nothing.
Limits: texts that were stored before this rule existed are still read.
"""

import re
from collections.abc import Iterator, Mapping

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Line breaks and tabs are allowed in prose.
_CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
PROBLEM = "holds a control character"


def control_problems(names: Mapping[str, str | None], prose: Mapping[str, str | None]) -> Iterator[str]:
    """Yield a line for each text that contains a control character. Texts of `prose` may have line breaks and tabs."""
    for texts, controls in ((names, CONTROL), (prose, _CONTROL_IN_PROSE)):
        for name, text in texts.items():
            if text and controls.search(text):
                yield f"{name}: {PROBLEM}"
