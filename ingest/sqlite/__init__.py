"""The event log of the embedded product: an SQLite file beside the store."""
