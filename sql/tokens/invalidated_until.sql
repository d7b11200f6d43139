-- Up to when tokens of a subject that were issued are invalidated, in Unix milliseconds; 0: never.
-- Read by engine/tokens/revocations.py before a token is issued.
SELECT toUnixTimestamp64Milli(max(issued_until))
FROM portal_invalidations
WHERE (kind = 'subject' AND name = {subject:String}) OR kind = 'all'
