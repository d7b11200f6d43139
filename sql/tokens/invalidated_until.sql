-- The instant until which the issued tokens of a subject are invalidated, in Unix milliseconds; 0: none is.
-- Read by engine/tokens/invalidations.py before a token is issued.
SELECT toUnixTimestamp64Milli(max(issued_until))
FROM portal_invalidations
WHERE (kind = 'subject' AND name = {subject:String}) OR kind = 'all'
