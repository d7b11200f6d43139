"""Usage queries: time windows of any zone, the statement that answers a query, and its answer."""
