"""The commands `meters list`, `meters create` and `meters delete`."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from engine.meters.aggregations import Aggregation
from engine.meters.jsonpath import matches_many
from engine.texts import printable
from engine.usage.local_times import read_zone, timestamp
from meterport.connection import connect_from_options
from meterport.options import Config, DataDir, Server
from meterport.terminal import Format, OutputFormat, print_json, print_table, say

meters = typer.Typer(help="List, create and delete meters.", no_args_is_help=True, rich_markup_mode=None)


@meters.command("list")
def list_meters(
    config: Config = None, data_dir: DataDir = None, server: Server = None,
    format_: Format = OutputFormat.TABLE,
) -> None:  # fmt: skip
    """List the meters, by slug.

    \b
    Example:
      meterport meters list --format json
    """
    with connect_from_options(config, data_dir, server) as api:
        _print_meters(api.list_meters(), format_)


@meters.command("create")
def create_meter(
    slug: Annotated[str, typer.Argument(help="Name of the meter in queries: at most 64 characters of a-z, 0-9 and _.")],
    event_type: Annotated[str, typer.Option(help="Type of the events that the meter counts.")],
    aggregation: Annotated[Aggregation, typer.Option(help="How the meter combines them.", case_sensitive=False)],
    value_property: Annotated[
        str | None, typer.Option(help="JSON path of the value in the event's data, such as $.tokens; not for COUNT.")
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            help="A dimension, such as model=$.llm.model, or KEY for KEY=$.KEY; repeatable.", metavar="KEY=JSONPATH"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Display name. Default: the slug.")] = None,
    description: Annotated[str | None, typer.Option(help="What the meter is for.")] = None,
    event_from: Annotated[
        str | None, typer.Option(help="Count only events from this time on (UTC unless it has an offset).")
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
) -> None:  # fmt: skip
    """Create a meter. It also counts events that were stored before it was created.

    \b
    Example:
      meterport meters create tokens --event-type prompt --aggregation SUM \\
        --value-property '$.tokens' --group-by model
    """
    definition = {
        "slug": slug,
        "eventType": event_type,
        "aggregation": aggregation.value,
        "valueProperty": value_property,
        "groupBy": _dimensions(group_by or []) or None,
        "name": name,
        "description": description,
        "eventFrom": timestamp(event_from, read_zone("UTC")) if event_from is not None else None,
    }
    with connect_from_options(config, data_dir, server) as api:
        created = api.create_meter({member: value for member, value in definition.items() if value is not None})
        _print_meters([created], format_)
    if value_property is not None and matches_many(value_property):
        say(f"note: {value_property} can match several values of an event; only the first one counts, not their sum")


@meters.command("delete")
def delete_meter(
    slug: Annotated[str, typer.Argument(help="The meter's slug, or its id.")],
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Delete a meter and its usage. Its events stay, so the usage is there again if you create the meter again.

    \b
    Example:
      meterport meters delete tokens
    """
    with connect_from_options(config, data_dir, server) as api:
        api.delete_meter(slug)
    say(f"deleted meter {slug}")


def _dimensions(texts: Iterable[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for text in texts:
        key, equals, path = text.partition("=")
        if key in paths:
            raise typer.BadParameter(f"--group-by {printable(key)} is given twice")
        paths[key] = path if equals else f"$.{key}"
    return paths


def _print_meters(listed: Sequence[dict[str, Any]], format_: OutputFormat) -> None:
    if format_ is OutputFormat.JSON:
        print_json(listed)
        return
    header = ["slug", "aggregation", "event type", "value", "group by"]
    print_table(header, [_table_row(meter) for meter in listed])


def _table_row(meter: dict[str, Any]) -> list[str]:
    counted = [meter["slug"], meter["aggregation"], meter["eventType"], meter.get("valueProperty", "")]
    return [*counted, ", ".join(meter.get("groupBy", {}))]
