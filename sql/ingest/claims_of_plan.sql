-- How many claims a plan has, and how many of them still have their keys. Asked when a process starts, for each plan
-- that is not acknowledged.
SELECT count(), countIf(keys != '') FROM event_claims WHERE token = {token:String}
