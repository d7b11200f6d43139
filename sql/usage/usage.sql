-- Usage: the groups of a query, in the order of the answer. ${groups}: usage/groups or usage/lines.
-- ${most_groups}: the largest number of groups, 0 for any number.
-- Read by engine/usage/statement.py.
${groups}
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
