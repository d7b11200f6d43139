"""The barriers of a fill where nothing is being ingested: every batch is stored whole, and no other comes."""


class NoIngest:
    """See `engine.meters.fill.Barriers`."""

    def all_stored_before(self, before_ms: int) -> bool:
        """Nothing stamped earlier comes any more."""
        del before_ms
        return True

    def all_stored_whole(self, rollup: str) -> bool:
        """No batch is stored only in part."""
        del rollup
        return True
