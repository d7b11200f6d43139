-- Computes one grain of a rollup from the next finer grain: the body of its view.
SELECT
    subject,
    ${coarsen}(finer.window) AS window,
    ${dimensions}
    min(finer.first_minute) AS first_minute,
    max(finer.last_minute) AS last_minute,
    ${columns}
FROM ${source} AS finer
GROUP BY subject, window${dimension_names}
