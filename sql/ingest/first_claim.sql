-- The block in which a plan was claimed first, by whichever process.
SELECT min(_block_number) FROM event_claims WHERE token = {token:String}
