"""The command `config show`."""

import typer

from engine.config.show import settings_yaml
from meterport.configuration import command_settings, nest_flags
from meterport.options import Config, DataDir

settings = typer.Typer(help="Show the settings.", no_args_is_help=True, rich_markup_mode=None)


@settings.command("show", short_help="Print all settings as YAML, each with its source.")
def show_config(config: Config = None, data_dir: DataDir = None) -> None:
    """Print all settings as YAML, including defaults: each with its source, and with secrets masked.

    \b
    Example:
      METERPORT_LOG_LEVEL=debug meterport config show --config meterport.yaml
    """
    flags = nest_flags(data_dir=data_dir)
    typer.echo(settings_yaml(command_settings(config, data_dir=data_dir), flags, config), nl=False)
