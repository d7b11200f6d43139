"""What the tests of one folder share within a worker: started by the first test that needs it, ended with the last.

A fixture of the session would run on beside all other tests, and one of a module would be started by each module.
"""

from contextlib import ExitStack

import pytest


class FolderServices(ExitStack):
    """The services of one folder. Its conftest.py calls `end_after` when a test is torn down."""

    def end_after(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """End the services if the worker's next test is in another folder."""
        if nextitem is None or nextitem.path.parent != item.path.parent:
            self.close()
