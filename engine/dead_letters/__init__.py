"""Records that could not become an event, listed and replayed."""
