"""The alert rules and the dashboard of Meterport, which are built from the names of its metrics."""
