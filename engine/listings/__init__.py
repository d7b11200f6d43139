"""What every listing by time has in common: its range of times, and where its next page begins."""
