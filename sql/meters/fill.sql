-- Puts one piece of what was stored before the views existed into the minute rollup; the views carry it on.
-- One block whatever its size, under a token of its own: a piece repeated after a crash completes what it left.
INSERT INTO ${table} SETTINGS ${settings}
${select}
ORDER BY subject, window${dimension_names}
