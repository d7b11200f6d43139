"""How many files and sockets this process may open, and how many of them connections may use.

Owns: raising the soft limit to the hard limit at start, and the reserve for the store, Kafka and logs: these must be
able to open files, whatever clients do. An idle `serve` has 75 to 145 open descriptors, a busy one about 230: three
for each thread of the store, and one for each column that is read.
"""

import logging
import resource
from typing import NamedTuple

logger = logging.getLogger(__name__)
# For store, Kafka, log files and backlog: more than three times what a store with eight threads was measured to use.
_RESERVED_DESCRIPTORS = 768
_MAX_CONNECTIONS = 1024  # Each can hold a head of 64 KiB in memory before its client has to authenticate.
_BACKLOG = 256  # One iteration of the event loop may accept this many connections before it can refuse any of them.


class Share(NamedTuple):
    """How many descriptors one server may use: for open connections, and for those that wait to be accepted."""

    connections: int
    backlog: int


def raise_limit() -> None:
    """Raise the soft limit on open files to the hard limit; warn if fewer connections than usual are possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS reports a hard limit that it then refuses.
            logger.debug("descriptor_limit_kept limit=%d", soft)
    limit, connections = _limit(), connections_share().connections
    if connections < _MAX_CONNECTIONS:
        logger.warning("few_descriptors limit=%d connections=%d", limit, connections)


def connections_share() -> Share:
    """Return how many connections a server may have under the limit on open files.

    If the limit is too low for the reserve, connections may use a quarter of the limit.
    """
    limit = _limit()
    if limit == resource.RLIM_INFINITY:
        return Share(_MAX_CONNECTIONS, _BACKLOG)
    return Share(
        max(1, min(_MAX_CONNECTIONS, max(limit - _RESERVED_DESCRIPTORS, limit // 4))), max(8, min(_BACKLOG, limit // 8))
    )


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
