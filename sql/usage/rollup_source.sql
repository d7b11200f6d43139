-- One grain of a rollup, if it alone answers the range. PREWHERE: ClickHouse would move the conditions there by itself,
-- which takes it longer. Part of usage/groups.
${table}
PREWHERE ${subjects} ${ranges}
${filters}
