"""The command line and the composition root: the only package that imports `engine`, `ingest` and `api`."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    """Says that pandas is not installed: nothing here uses it, but Arrow loads it with the first array if it is.

    chDB needs it to be installed, and loading it takes 0.3 s and 40 MB.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("Meterport does not use pandas", name=name)


def main() -> None:
    """Run the command line."""
    sys.meta_path.insert(0, _WithoutPandas())
    import meterport.early_stop  # noqa: F401, PLC0415 - imported first: a service may get a signal while it loads
    from meterport.cli import run  # noqa: PLC0415 - it takes a second to load

    run()
