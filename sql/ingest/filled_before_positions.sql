-- Whether an earlier release, which noted no positions, has stored records of a topic, or of an unknown one, here.
-- Asked while nothing is noted of the topic.
SELECT (SELECT count() FROM event_claims WHERE startsWith(owner, {prefix:String}) AND token != '') > 0
    OR ((SELECT count() FROM log_positions) = 0
        AND ((SELECT count() FROM events) > 0 OR (SELECT count() FROM dead_letters) > 0))
