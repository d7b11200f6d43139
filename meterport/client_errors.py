"""What a request of the command line ends with when it fails."""

import re
from typing import Any

import httpx

from engine.config.redaction import without_userinfo
from engine.errors import MeterportError

_LONGEST_WAIT_SECONDS = 30


class ClientError(MeterportError):
    """A request of the command line failed."""


class Unreachable(ClientError):
    """No server answers at the address."""


class Refusal(ClientError):
    """The server answered with a problem."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.members = _members(response)
        self._url = response.request.url
        self.retry_seconds = _retry_seconds(response)
        super().__init__(self._line())

    def _line(self) -> str:
        text = str(self.members.get("detail") or self.members.get("title") or f"status {self.status}")
        if self.status == 404 and "detail" not in self.members:
            return f"{text}: {self._url}"  # No such route: this is another server, or the URL has a path.
        if self.status == 401:
            return f"{text}; the key comes from the setting api_key (METERPORT_API_KEY)"
        return f"{text} ({self.members['instance']})" if self.status >= 500 and "instance" in self.members else text

    @property
    def refused_events(self) -> dict[int, str]:
        """Return why events of a batch were refused, by index; empty if the batch was refused for another reason."""
        errors = self.members.get("extensions", {}).get("validationErrors", [])
        return {int(error["index"]): str(error["message"]) for error in errors}


def _members(response: httpx.Response) -> dict[str, Any]:
    try:
        members = response.json()
    except ValueError:
        members = None
    if isinstance(members, dict):
        return members
    url = without_userinfo(str(response.request.url))
    return {"detail": f"{url} answers {response.status_code} {response.reason_phrase}"}


def _retry_seconds(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT_SECONDS) if re.fullmatch(r"[0-9]{1,6}", seconds) else None
