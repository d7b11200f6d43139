"""Zones with unusual clock changes, and seconds as text and as generated instants."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from engine.instants import BEGINNING, END

ODD_ZONES = (
    *("America/New_York", "Europe/Budapest", "Europe/London", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran"),
    *("Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns", "Africa/Monrovia"),
    *("Africa/Cairo", "America/Caracas", "Antarctica/Troll", "Pacific/Chatham", "Asia/Pyongyang", "UTC"),
)


def second(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


def written(seconds: list[int]) -> list[str]:
    return [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in seconds]


INSTANTS = st.integers(BEGINNING, END - 1)
