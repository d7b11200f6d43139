"""Control characters in texts that people give to meters and subjects.

Owns: which texts may hold none. A name with an escape code would write on the terminal of whoever lists it; no event's
`type` holds one, so a meter of such a type would count nothing.
Limits: texts that were stored before this rule are still read.
"""

import re
from collections.abc import Iterator, Mapping

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # lines and tabs are allowed
PROBLEM = "holds a control character"


def control_problems(names: Mapping[str, str | None], prose: Mapping[str, str | None]) -> Iterator[str]:
    """Yield a line for each text that holds a control character. Those of `prose` may have lines and tabs."""
    for texts, controls in ((names, CONTROL), (prose, _IN_PROSE)):
        for name, text in texts.items():
            if text and controls.search(text):
                yield f"{name}: {PROBLEM}"
