"""Dead letters, that is records that are not events: how they are listed and replayed."""
