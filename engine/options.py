"""Options that commands share: whose settings, which engine."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings. Default: none.")]
DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept. Default: ./data.")]
Server = Annotated[
    str | None,
    typer.Option(
        help="URL of a running server. Default: the process that has the data directory open, else one started for "
        "this command alone."
    ),
]
