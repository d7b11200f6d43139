"""Usage queries: time windows in any time zone, the SQL statement that answers a query, and the answer."""
