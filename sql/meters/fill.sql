-- Inserts one segment of the events that were stored before the views existed into the minute rollup. The views of the
-- coarser grains process it like any other insert. A segment is one block of any size with its own token: when it is
-- repeated after a crash, it completes what the crash left.
INSERT INTO ${table} SETTINGS ${settings}
${select}
ORDER BY subject, window${dimension_names}
