"""The command line, and the composition root: it alone sees `engine`, `ingest` and `api` together."""


def main() -> None:
    """Run the command line."""
    import meterport.early_stop  # noqa: F401, PLC0415 - first of all: a service may be told to stop while it is loaded
    from meterport.cli import run  # noqa: PLC0415 - takes a second to load

    run()
