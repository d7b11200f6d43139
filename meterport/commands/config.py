"""The command `config show`."""

import typer

from engine.config.listing import settings_yaml
from meterport.configuration import overrides, settings_of
from meterport.options import Config, DataDir

settings = typer.Typer(help="Settings.", no_args_is_help=True, rich_markup_mode=None)


@settings.command("show")
def show_config(config: Config = None, data_dir: DataDir = None) -> None:
    """Print the settings in force as YAML: defaults too, secrets masked, each with where it came from.

    \b
    Example:
      METERPORT_LOG_LEVEL=debug meterport config show --config meterport.yaml
    """
    flags = overrides(data_dir=data_dir)
    typer.echo(settings_yaml(settings_of(config, data_dir=data_dir), flags, config), nl=False)
