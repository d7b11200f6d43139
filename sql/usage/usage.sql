-- Usage: the segments of a range, each from its grain, merged once.
-- ${join}: nothing, or usage/named. ${most_groups}: the largest number of groups, 0 for any number. ${segments}:
-- usage/raw_piece and usage/rollup_piece joined by UNION ALL, or usage/largest_groups of them.
-- Read by engine/usage/statement.py.
SELECT ${output}
FROM (
    SELECT
        ${keys}
        min(first_minute) AS first_event_minute,
        max(last_minute) AS last_event_minute,
        ${value} AS usage
    FROM (
${segments}
    )
    ${grouping}
    ${having}
) AS answered
${join}
${order}
${limit}
SETTINGS
    max_rows_to_group_by = ${most_groups},
    group_by_overflow_mode = 'throw',
    output_format_json_array_of_rows = 1,
    output_format_json_quote_64bit_integers = 0,
    output_format_json_quote_decimals = 0,
    output_format_json_escape_forward_slashes = 0,
    output_format_decimal_trailing_zeros = 0,
    function_json_value_return_type_allow_nullable = 0,
    function_json_value_return_type_allow_complex = 0
