"""What deploy/Dockerfile says about its images: variables, user, volumes and entry point.

Limits: it knows the instructions that this file uses, and no arguments in them apart from those of FROM.
"""

import json
import re
from functools import cache
from typing import NamedTuple

from tests.chart.tools import ROOT

_TEXT = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
_SAME_LINE = re.compile(r"\\\n\s*")


class Image(NamedTuple):
    """What a target of the Dockerfile is started with."""

    variables: dict[str, str]
    user: str
    volumes: list[str]
    entrypoint: list[str]


@cache
def images() -> dict[str, Image]:
    """Return every stage of the Dockerfile by its name. A stage begins with what the one before it in FROM has."""
    found: dict[str, Image] = {}
    name = ""
    for line in _SAME_LINE.sub("", _TEXT).splitlines():
        instruction, _, rest = line.partition(" ")
        match instruction:
            case "FROM":
                base, _, name = rest.partition(" AS ")
                found[name] = found.get(base, Image({}, "", [], []))
            case "ENV":
                given = dict(re.findall(r"(\w+)=(\S*)", rest))
                found[name] = found[name]._replace(variables=found[name].variables | given)
            case "USER":
                found[name] = found[name]._replace(user=rest)
            case "VOLUME":
                found[name] = found[name]._replace(volumes=json.loads(rest))
            case "ENTRYPOINT":
                found[name] = found[name]._replace(entrypoint=json.loads(rest))
    return found
