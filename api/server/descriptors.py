"""The files and sockets this process may have open, and how many of them connections may take.

Owns: raising the soft limit to the hard one at start, and the share of the store, of Kafka and of logs: whatever
clients do, these must be able to open a file. An idle `serve` holds 75 to 145 descriptors and some 230 at work: three
for each thread of the store, one for each column that is read.
"""

import logging
import resource
from typing import NamedTuple

logger = logging.getLogger(__name__)
_RESERVED = 768  # for store, Kafka, log and backlog: more than three times what an eight-thread store was seen to take
_MOST = 1024  # connections: each may hold a head of 64 KiB before anybody is asked who he is
_BACKLOG = 256  # connections that may be taken in one turn of the event loop, before any of them can be refused


class Share(NamedTuple):
    """What one server may have of the process's descriptors: open connections, and ones that wait to be taken."""

    connections: int
    backlog: int


def raise_limit() -> None:
    """Raise the soft limit on open files to the hard one, and say so if that leaves connections fewer than usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS names a hard limit that it does not take
            logger.debug("descriptor_limit_kept limit=%d", soft)
    limit, connections = _limit(), connections_share().connections
    if connections < _MOST:
        logger.warning("few_descriptors limit=%d connections=%d", limit, connections)


def connections_share() -> Share:
    """Return how many connections the limit on open files leaves a server.

    Where the limit is so low that the reserve does not fit into it, connections have a quarter of it.
    """
    limit = _limit()
    if limit == resource.RLIM_INFINITY:
        return Share(_MOST, _BACKLOG)
    return Share(max(1, min(_MOST, max(limit - _RESERVED, limit // 4))), max(8, min(_BACKLOG, limit // 8)))


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
