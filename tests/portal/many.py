"""A store with one event of each of very many values, made before a server opens it: python -m tests.portal.many DIR N.

The events go into the store at once, past the log: 300,000 take a second or two.
"""

import sys
from pathlib import Path

from engine.config.loading import load_settings
from engine.store.migrations import migrate
from engine.store.opening import open_store
from tests.portal.customer import SUBJECT

# One event a value, over the 20 days before now, evenly; `rid` is the value, `ms` and `tokens` are numbers.
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
    """Return the value that the event of a number has."""
    return f"req-{number:012}-abcdefgh"


def main() -> None:
    """Make the store."""
    directory, count = Path(sys.argv[1]), int(sys.argv[2])
    settings = load_settings(overrides={"data_dir": directory})
    store = open_store(settings)
    migrate(store, settings)
    store.command(EVENTS.format(subject=SUBJECT, count=count))
    store.close()


if __name__ == "__main__":
    main()
