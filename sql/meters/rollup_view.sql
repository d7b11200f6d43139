-- The view that feeds one grain of a rollup from the previous table of the chain.
CREATE MATERIALIZED VIEW IF NOT EXISTS ${view} TO ${table} AS
${select}
