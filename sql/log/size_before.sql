-- How much acknowledging a batch frees.
SELECT count(*), coalesce(sum(length(value)), 0) FROM records WHERE position < ?
