"""How far this process is behind the topic, and when the brokers last reported anything about it.

Owns: the lag, and the questions to the brokers about partitions that nothing is fetched from: the lag may grow without
a fetch. What is not known is NaN, never a number that somebody reported long ago.
Every call that asks the brokers is made while the member is in use (`GroupMember.using`).
Source: docs/design.md R8; docs/operations.md "Metrics".
"""

import math
import time

from ingest.event_log import Lag
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.consumer_group import GroupMember

END_QUERY_SECONDS = 5
_END_QUERY_TIMEOUT_SECONDS = 3  # how long to wait for these answers: nothing is read meanwhile
_MAX_UNANSWERED_QUERIES = 3  # after this many, the topic's end counts as unknown
_UNKNOWN = Lag(math.nan, math.nan)


class LagMonitor:
    """The lag of the partitions in `assigned`, whose records are in `buffer`."""

    def __init__(
        self,
        member: GroupMember,
        assigned: dict[int, AssignedPartition],
        buffer: RecordBuffer,
        end_query_seconds: float = END_QUERY_SECONDS,
    ) -> None:
        """Args: end_query_seconds: if brokers report nothing about a partition for this long, ask for its end."""
        self._member = member
        self._assigned = assigned
        self._buffer = buffer
        self._end_query_seconds = end_query_seconds
        self._last_end_query = 0.0
        self._last_waited_for = 0.0  # when the last question was asked whose answer is not waited for any more
        self._last_heard = time.monotonic()  # when brokers last reported anything, about any partition
        self._lag = _UNKNOWN
        self.membership_refused = False  # the group has refused this process since it was last a member

    # what is known

    @property
    def lag(self) -> Lag:
        """The lag as of the last look at the log; NaN if it is not known. The number of bytes is never known."""
        return self._lag if self.is_known else _UNKNOWN

    @property
    def is_known(self) -> bool:
        """Whether this process is a member, and the brokers have lately reported on each of its partitions."""
        patience = _MAX_UNANSWERED_QUERIES * self._end_query_seconds
        return self.is_member and time.monotonic() - self.all_heard_since < patience

    @property
    def is_member(self) -> bool:
        """Whether the group has said which partitions this process owns, if any.

        With the newer protocol the group reports nothing to a member for which there is no partition. If brokers answer
        and the group refuses nothing for a while, this counts as such a membership.
        """
        if self._member.is_member:
            return True
        since = self._member.outside_group_since
        if since is None or self.refused:
            return False
        patience = _MAX_UNANSWERED_QUERIES * self._end_query_seconds
        return self._last_heard > since and time.monotonic() - since >= patience

    @property
    def refused(self) -> bool:
        """Whether the group refuses this process: it lacks the right Read on the group."""
        return self.membership_refused or self._member.refused

    @property
    def outside_group_seconds(self) -> float:
        """How long ago this process asked to join or was last a member, in seconds; 0 while it is a member."""
        since = self._member.outside_group_since
        return 0 if self.is_member or since is None else time.monotonic() - since

    @property
    def silent_seconds(self) -> float:
        """How many seconds brokers had reported nothing about one of our partitions when they were last asked.

        A question that may still be answered does not count. If a thread waits for the store and so nobody can ask the
        brokers, this does not count as silence of the brokers.
        """
        return max(0, self._last_waited_for - self.all_heard_since)

    @property
    def all_heard_since(self) -> float:
        """The monotonic second after which the brokers have reported on every partition of this process."""
        heard = [partition.last_heard for partition in list(self._assigned.values())]
        return min(heard) if heard else self._last_heard

    def count_unread(self) -> int:
        """Return how many records the topic has that were not read, as of the last fetch."""
        highs = ((self._member.cached_bounds(number)[1], partition) for number, partition in self._assigned.items())
        return sum(max(0, high - partition.read_to) for high, partition in highs)

    # what is noted

    def note_assignment(self) -> None:
        """Note that the group has assigned partitions."""
        self.membership_refused, self._last_heard = False, time.monotonic()

    def note_silence(self) -> None:
        """Note that the brokers were asked, by a commit, and do not answer."""
        self._last_end_query = self._last_waited_for = time.monotonic()

    def measure(self) -> None:
        """Measure the lag by what was read, acknowledged and reported."""
        if not self.is_member:
            self._lag = _UNKNOWN
            return
        held = self._buffer.counts()
        records = sum(
            self._partition_lag(number, partition, held[number]) for number, partition in self._assigned.items()
        )
        self._lag = Lag(records, math.nan)

    def _partition_lag(self, number: int, partition: AssignedPartition, held: int) -> float:
        if partition.at_end and partition.plan is None and partition.reported_end <= partition.end:
            return held  # the rest are transaction markers, which are no records
        low, high = self._member.cached_bounds(number)
        if max(high, partition.reported_end) < 0:
            return math.nan  # nothing was fetched of it yet
        return max(0, max(high, partition.reported_end, partition.read_to) - max(low, partition.acknowledged_to))

    def query_ends(self) -> None:
        """Ask brokers about partitions they have not reported on for a while."""
        now = time.monotonic()
        quiet = [
            number
            for number, partition in self._assigned.items()
            if now - partition.last_heard >= self._end_query_seconds
        ]
        is_quiet = quiet or (not self._assigned and now - self._last_heard >= self._end_query_seconds)
        if not is_quiet or now - self._last_end_query < self._end_query_seconds:
            return
        self._last_end_query = now
        try:
            self._ask(bool(quiet), min(_END_QUERY_TIMEOUT_SECONDS, max(1, self._end_query_seconds)))
        finally:
            self._last_waited_for = now
        self.measure()

    def _ask(self, ends: bool, seconds: float) -> None:
        """Ask for the ends of our partitions, or whether brokers answer at all. Args: seconds: how long to wait."""
        if ends:
            for number, end in self._member.ends(list(self._assigned), seconds).items():
                self._assigned[number].reported_end, self._assigned[number].last_heard = end, time.monotonic()
            return
        self._member.partitions(seconds)
        if self._member.refused:
            self._member.committed([0])
        self._last_heard = time.monotonic()
