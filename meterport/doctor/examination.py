"""All checks of a process, in their order: those of the store, of Kafka, and of the data directory.

Owns: which checks the settings and the purpose of the process call for. The order lets each check say what the checks
after it need.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from enum import StrEnum

from engine.config.settings import Settings
from meterport.doctor.broker_checks import BrokerChecks
from meterport.doctor.directory_checks import DirectoryChecks
from meterport.doctor.gap_check import GapCheck
from meterport.doctor.report import Check, Finding, findings
from meterport.doctor.store_checks import SCHEMA, StoreChecks
from meterport.doctor.topic_checks import TopicChecks

KEYS = "portal.token_keys"


class Purpose(StrEnum):
    """The command whose needs are checked."""

    API = "api"
    INGEST = "ingest"
    SERVE = "serve"


def examine(settings: Settings, purpose: Purpose) -> Iterator[Finding]:
    """Yield what each check finds. Nothing is written anywhere."""
    with ExitStack() as ends:
        yield from findings(_checks(settings, purpose, ends))


def _checks(settings: Settings, purpose: Purpose, ends: ExitStack) -> Iterator[Check]:
    """Yield the checks. Those that follow depend on what those before have found, so that each runs before the next."""
    store: StoreChecks | None = None
    if settings.store.url:
        store = ends.enter_context(closing(StoreChecks(settings)))
        yield from store.checks()
    if not (settings.store.url and settings.kafka.brokers):
        yield from DirectoryChecks(settings).checks()
    if settings.kafka.brokers:
        ingests = purpose is not Purpose.API
        brokers = BrokerChecks(settings.kafka, produces=purpose is not Purpose.INGEST, consumes=ingests)
        yield from brokers.checks()
        if not brokers.topic_is_new:
            yield from TopicChecks(settings, brokers).checks()
        if ingests and store:
            yield GapCheck(settings.kafka, brokers, store.in_database).check((SCHEMA,))
    yield _keys_check(settings)


def _keys_check(settings: Settings) -> Check:
    """Return the check of the keys. Where processes share a store, the settings are refused without any."""
    count = len(settings.portal.token_keys)
    found = f"{count} set; every process must have the same" if count else "one is made and kept in data_dir"
    return Check(KEYS, lambda: found)
