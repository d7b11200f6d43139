"""The settings: their types and defaults, the files and variables they come from, and what may be trusted."""
