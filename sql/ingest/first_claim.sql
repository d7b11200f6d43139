-- The block in which a plan was claimed first, by whichever process; 0 if it was not.
SELECT min(_block_number) FROM event_claims WHERE token = {token:String}
