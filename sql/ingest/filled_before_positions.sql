-- Whether an earlier release, which wrote no positions, has stored records of this topic or of an unknown one.
-- Read by ingest/stored_positions.py while the store has no positions of the topic.
SELECT (SELECT count() FROM event_claims WHERE startsWith(owner, {prefix:String}) AND token != '') > 0
    OR ((SELECT count() FROM log_positions) = 0
        AND ((SELECT count() FROM events) > 0 OR (SELECT count() FROM dead_letters) > 0))
