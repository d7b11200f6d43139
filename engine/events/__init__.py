"""CloudEvents: what a valid event is, how many are decoded at once, and how stored ones are listed."""
