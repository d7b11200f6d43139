"""Create a store with one event for each of N values, before a server opens it: python -m tests.portal.many DIR N.

The events are inserted into the store directly, not through the event log: 300,000 take a second or two.
"""

import sys
from pathlib import Path

from engine.config.loading import load_settings
from engine.store.migrations import migrate
from engine.store.opening import open_store
from tests.portal.customer import SUBJECT

# One event for each value, spread evenly over the last 20 days. `rid` is the value; `ms` and `tokens` are numbers.
EVENTS = """
INSERT INTO events
SELECT
    toString(number), 'tests', 'request', '{subject}',
    now64(3, 'UTC') - toIntervalSecond(60 + intDiv(number * 1728000, {count})),
    concat(
        '{{"rid":"req-', leftPad(toString(number), 12, '0'), '-abcdefgh","tokens":1,"ms":', toString(number % 777), '}}'
    ),
    '', now64(3, 'UTC'), now64(3, 'UTC'), 0, number, murmurHash3_128('tests', toString(number))
FROM numbers({count})
"""


def rid(number: int) -> str:
    """Return the value of `rid` in the event with this number."""
    return f"req-{number:012}-abcdefgh"


def main() -> None:
    """Create the store."""
    directory, count = Path(sys.argv[1]), int(sys.argv[2])
    settings = load_settings(overrides={"data_dir": directory})
    store = open_store(settings)
    migrate(store, settings)
    store.command(EVENTS.format(subject=SUBJECT, count=count))
    store.close()


if __name__ == "__main__":
    main()
