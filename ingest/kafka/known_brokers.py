"""Notices that a client of librdkafka knows no broker any more: it never goes on, so a new client must replace it.

librdkafka removes each broker that an answer about the cluster does not list. Brokers that start, or whose controller
believes they are away, list none at all. The client then asks `bootstrap.servers` again, but not always: if the answer
arrives while its last connection closes, librdkafka cancels this attempt and begins no other one (seen with 2.16).
Limits: a client reports what it knows only while it is polled.
Source: librdkafka STATISTICS.md `brokers`, CHANGELOG.md 2.10.0 "Upgrade considerations"; docs/design.md R8b.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import msgspec

from engine.config.kafka_settings import KafkaSettings
from ingest.kafka.client import Options, client_options, connect

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
REPORT_SECONDS = 10
_REPORTS = 2  # after one report without brokers, the client may be about to ask `bootstrap.servers`


class _Broker(msgspec.Struct):
    source: str


class _Statistics(msgspec.Struct):
    name: str
    brokers: dict[str, _Broker]


class KnownBrokers:
    """What one client reports about the brokers that it knows."""

    def __init__(self) -> None:
        self._reports_without = 0  # in a row
        self.options: Options = {"statistics.interval.ms": round(REPORT_SECONDS * 1000), "stats_cb": self._note}

    @property
    def forgotten(self) -> bool:
        """Whether the client knows no broker, and will know none."""
        return self._reports_without >= _REPORTS

    def _note(self, report: str) -> None:
        statistics = msgspec.json.decode(report, type=_Statistics)
        # A coordinator is listed as a logical broker as well, even if its address is not known any more.
        if any(broker.source != "logical" for broker in statistics.brokers.values()):
            self._reports_without = 0
            return
        self._reports_without += 1
        if self._reports_without == _REPORTS:
            logger.error("brokers_forgotten client=%s: a new client replaces it", statistics.name)


def connect_watched(client: Callable[[Options], _T], settings: KafkaSettings, own: Options) -> tuple[_T, KnownBrokers]:
    """Return a client, and what it reports. See `client_options` for `own`, and `connect` for the errors."""
    known = KnownBrokers()
    return connect(client, client_options(settings, own | known.options)), known
