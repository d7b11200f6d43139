"""The ClickHouse settings that are sent with statements. They override the server's own settings.

Source: docs/design.md R5 (settings of inserts), R7 (one insert is one block), R22b (nothing is compiled).
"""

# ClickHouse would compile each aggregation to machine code at its fourth run, which takes 40 ms of processor time.
# Neither inserts nor queries were faster with it.
_NOT_COMPILED: dict[str, str | int] = {
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
}
# Exactly-once storage needs these settings. They are sent with every insert, because defaults differ between releases.
INSERT_SETTINGS: dict[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_insert_select": "enable_even_for_bad_queries",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "parallel_view_processing": 1,  # Views run in parallel; within one view a block stays one block (see below).
    # One insert is one block in every table of the chain: it is never split, and never merged with another.
    "max_insert_block_size": 100_000_000,
    "max_block_size": 100_000_000,
    "preferred_block_size_bytes": 0,
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 0,
    "min_insert_block_size_rows_for_materialized_views": 100_000_000,
    "min_insert_block_size_bytes_for_materialized_views": 0,
    "group_by_two_level_threshold": 0,
    "group_by_two_level_threshold_bytes": 0,
    "max_insert_threads": 1,
    "max_threads": 2,
    "max_partitions_per_insert_block": 0,
    # The text of a value must not depend on the server's profile.
    "function_json_value_return_type_allow_nullable": 0,
    "function_json_value_return_type_allow_complex": 0,
    "optimize_on_insert": 1,
    **_NOT_COMPILED,
}
# These settings are sent with every SELECT. By default ClickHouse would compile ten patterns in one `or` into a single
# regular expression, which takes seconds of CPU before the first row if the patterns are long.
READ_SETTINGS: dict[str, str | float] = {"optimize_or_like_chain": 0, **_NOT_COMPILED}
# Settings that newer releases introduced. An older server knows only the other settings.
OPTIONAL_SETTINGS = frozenset({"deduplicate_insert", "deduplicate_insert_select", *READ_SETTINGS})
