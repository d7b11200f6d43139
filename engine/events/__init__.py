"""CloudEvents: what a valid event is, how many events are decoded at once, and how stored events are listed."""
