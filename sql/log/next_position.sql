-- The position that the next record gets. Read at start.
SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'
