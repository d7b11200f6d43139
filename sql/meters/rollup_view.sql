-- Feeds one grain of a rollup from the table before it in the chain.
CREATE MATERIALIZED VIEW IF NOT EXISTS ${view} TO ${table} AS
${select}
