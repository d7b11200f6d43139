"""The command `query`, which prints usage.

Owns: its options and its output.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer

from engine.texts import printable
from engine.usage.local_times import read_zone, timestamp
from engine.usage.windows import WindowSize
from meterport.connection import connect_from_options
from meterport.options import Config, DataDir, Server
from meterport.terminal import print_csv, print_json_text, print_table


class UsageFormat(StrEnum):
    """The format in which usage is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(
    slug: Annotated[str, typer.Argument(help="The meter's slug, or its id.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Start (inclusive): a time, or a date in --time-zone. Default: the first event."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="End (exclusive): a time, or a date in --time-zone. Default: after the last event."),
    ] = None,
    window_size: Annotated[
        WindowSize | None,
        typer.Option(
            help="One row per minute, hour, day or month. Default: one row for the whole range.", case_sensitive=False
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="IANA time zone in which days and months begin.")] = "UTC",
    group_by: Annotated[
        list[str] | None,
        typer.Option(help="One row per value of this dimension, or of `subject`; repeatable.", metavar="KEY"),
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="Only events whose dimension KEY has this value; repeatable. Several values of one KEY: any of them.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Only this subject; repeatable.", metavar="SUBJECT")
    ] = None,
    format_: Annotated[
        UsageFormat, typer.Option("--format", help="How to print it: a table, or the API's JSON or CSV.")
    ] = UsageFormat.TABLE,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Print the usage of a meter. Values are exact; each row is one window [start, end) of one group.

    \b
    Example:
      meterport query tokens --from 2026-03-01 --window-size DAY \\
        --time-zone Europe/Berlin --group-by model
    """
    zone = read_zone(time_zone)
    body = {
        "from": timestamp(from_, zone) if from_ is not None else None,
        "to": timestamp(to, zone) if to is not None else None,
        "windowSize": window_size.value if window_size else None,
        "windowTimeZone": time_zone,
        "groupBy": group_by,
        "filterGroupBy": _filters(filter_ or []),
        "subject": subject,
    }
    accept = "text/csv" if format_ is UsageFormat.CSV else "application/json"
    with connect_from_options(config, data_dir, server) as api:
        answer = api.query(slug, {name: value for name, value in body.items() if value}, accept)
    if format_ is UsageFormat.TABLE:
        print_usage(answer.json(parse_float=Decimal)["data"], group_by or [], subject)
    elif format_ is UsageFormat.JSON:
        print_json_text(answer.content.rstrip(b"\n"))
    else:
        print_csv(answer.content.rstrip(b"\n"))


def print_usage(rows: Sequence[dict[str, Any]], group_by: Sequence[str], subjects: Sequence[str] | None = None) -> None:
    """Print the rows of an answer as a table. Args: subjects: if not empty, the table has a column for them."""
    keys = [key for key in group_by if key != "subject"]
    by_subject = ["subject"] if subjects or "subject" in group_by else []
    cells = [
        [row["windowStart"], row["windowEnd"], *(row[key] for key in by_subject)]
        + [row["groupBy"].get(key) or "" for key in keys]
        + [format(row["value"], "f") if isinstance(row["value"], Decimal) else str(row["value"])]
        for row in rows
    ]
    print_table(["from", "to", *by_subject, *keys, "value"], cells)


def _filters(texts: Iterable[str]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--filter must be KEY=VALUE, not {printable(text)}")
        filters.setdefault(key, []).append(value)
    return filters
