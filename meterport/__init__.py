"""The command line and the composition root: the only package that imports `engine`, `ingest` and `api`."""


def main() -> None:
    """Run the command line."""
    import meterport.early_stop  # noqa: F401, PLC0415 - imported first: a service may get a signal while it loads
    from meterport.cli import run  # noqa: PLC0415 - it takes a second to load

    run()
