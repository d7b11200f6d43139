-- Segments of a range from one grain of a rollup, if other segments come from other grains. Part of usage/groups.
SELECT ${columns}
FROM ${source}
