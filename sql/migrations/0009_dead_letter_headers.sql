-- A CloudEvent in binary mode is half in its record's headers: they are kept with the raw bytes, as a JSON list of
-- [name, value], so that the record can be read and replayed. '' where there were none.
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS headers String CODEC(ZSTD(1)) AFTER value
