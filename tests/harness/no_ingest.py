"""The barriers of a fill while nothing is ingested: all batches are stored completely, and there are no new ones."""


class NoIngest:
    """See `engine.meters.fill.Barriers`."""

    def all_stored_before(self, before_ms: int) -> bool:
        """Return True: no event with an earlier stamp can arrive."""
        del before_ms
        return True

    def all_stored_whole(self, rollup: str) -> bool:
        """Return True: no batch is stored only in part."""
        del rollup
        return True
