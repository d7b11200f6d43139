-- The meter registry remembers tokens of inserts: of two processes that make a meter of one slug at the same moment, the
-- one whose row comes first has made it. Used by engine/registry.py.
ALTER TABLE meters MODIFY SETTING non_replicated_deduplication_window = ${window}
