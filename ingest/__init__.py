"""From the event log to ClickHouse blocks, exactly once."""
