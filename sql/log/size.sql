-- How much the log holds. Read at start.
SELECT count(*), coalesce(sum(length(value)), 0) FROM records
