"""The blocks of commands in docs/operations.md: what a reader would type, and what the page says is then printed."""

import re
import shlex
from typing import NamedTuple

from tests.documents.pages import OPERATIONS

_PROMPT = "$ "


class Block(NamedTuple):
    """A block of code. `kind`: the word behind its three backticks; "": a terminal, if it has a prompt."""

    kind: str
    text: str

    def sessions(self) -> list[tuple[list[str], str]]:
        """Return each command that stands behind a prompt, as its arguments, and the lines that follow it."""
        parts = re.split(rf"^{re.escape(_PROMPT)}", self.text, flags=re.MULTILINE)[1:]
        return [(shlex.split(command), output) for command, _, output in (part.partition("\n") for part in parts)]

    def commands(self) -> list[list[str]]:
        """Return the commands of a shell script, as their arguments. Substitutions stay as they are written."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines]


def blocks() -> list[Block]:
    text = OPERATIONS.read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]


def block(beginning: str) -> Block:
    """Return the one block that begins like this."""
    [found] = [each for each in blocks() if each.text.startswith(beginning)]
    return found
