-- The block of the newest claim and when it was made, 0 when there is none. Not later than now: a claim of a clock that
-- was ahead would hide all that follow.
SELECT max(_block_number), toUnixTimestamp64Milli(least(max(claimed_at), now64(3))) FROM event_claims
