-- The block of the newest claim and when it was made, 0 when there is none.
SELECT max(_block_number), toUnixTimestamp64Milli(max(claimed_at)) FROM event_claims
