"""Configuration: the settings with types and defaults, the files and variables they come from, and checks of trust."""
