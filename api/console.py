"""Commands that ask the API: meters, portal tokens, usage.

Owns: their options, and what is printed of each answer.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.terminal import Format, Shape, connected, print_csv, print_document, print_json, print_table, say
from engine.clock import utc_now
from engine.errors import InvalidRequest
from engine.local_times import read_zone, timestamp
from engine.meters import Aggregation
from engine.options import Config, DataDir, Server
from engine.paths import matches_many
from engine.texts import name_shown, printable
from engine.windows import WindowSize

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")


class UsageShape(StrEnum):
    """How usage is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


meters = typer.Typer(help="Meters: what is counted.", no_args_is_help=True, rich_markup_mode=None)
token = typer.Typer(
    help="Portal tokens: one customer's way to its own usage.", no_args_is_help=True, rich_markup_mode=None
)


@meters.command("list")
def list_meters(
    context: typer.Context, config: Config = None, data_dir: DataDir = None, server: Server = None,
    format_: Format = Shape.TABLE,
) -> None:  # fmt: skip
    """List the meters, by slug.

    \b
    Example:
      meterport meters list --format json
    """
    with connected(context, config, data_dir, server) as api:
        _print_meters(api.meters(), format_)


@meters.command("create")
def create_meter(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="Its name in queries: a-z, 0-9 and _, at most 64.")],
    event_type: Annotated[str, typer.Option(help="Type of the events it counts.")],
    aggregation: Annotated[Aggregation, typer.Option(help="What it makes of them.", case_sensitive=False)],
    value_property: Annotated[
        str | None, typer.Option(help="JSON path of the value in the event's data, as $.tokens; not for COUNT.")
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(help="A dimension, as model or model=$.llm.model; repeat it for more. KEY alone is KEY=$.KEY."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name for people. Default: the slug.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    event_from: Annotated[
        str | None, typer.Option(help="Count no event before this time (UTC unless it has an offset). Default: all.")
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = Shape.TABLE,
) -> None:  # fmt: skip
    """Create a meter. It counts events stored before it, too.

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
    with connected(context, config, data_dir, server) as api:
        made = api.create_meter({member: value for member, value in definition.items() if value is not None})
        _print_meters([made], format_)
    if value_property is not None and matches_many(value_property):
        say(f"note: {value_property} can match several values of an event; the first one counts, not their sum")


@meters.command("delete")
def delete_meter(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The meter's slug, or its id.")],
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Delete a meter and its usage. Its events stay, so creating it again brings the usage back.

    \b
    Example:
      meterport meters delete tokens
    """
    with connected(context, config, data_dir, server) as api:
        api.delete_meter(slug)
    say(f"deleted meter {slug}")


@token.command("create")
def create_token(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Whose usage it shows: the subject of the events.")],
    meter: Annotated[
        list[str] | None, typer.Option(help="Slug of a meter it may ask; repeat it for more. Default: all.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="When it ends: after 90s, 15m, 24h or 30d, or at a time (UTC unless it has an offset). "
            "Default: the server's portal.token_seconds, 24h."
        ),
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = Shape.TABLE,
) -> None:  # fmt: skip
    """Make a portal token and print it: there is no other sight of it.

    \b
    Example:
      TOKEN=$(meterport token create acme --meter tokens --expires 7d)
    """
    body: dict[str, object] = {"subject": subject}
    if meter:
        body["allowedMeterSlugs"] = meter
    if expires is not None:
        body["expiresAt"] = _end(expires)
    with connected(context, config, data_dir, server) as api:
        made = api.create_token(body)
    if format_ is Shape.JSON:
        print_json(made)
    else:
        typer.echo(printable(made["token"]))
        allowed = ", ".join(made["allowedMeterSlugs"]) or "every meter"
        say(f"token {made['id']} of {name_shown(made['subject'])} for {allowed} until {made['expiresAt']}")


@token.command("list")
def list_tokens(
    context: typer.Context,
    subject: Annotated[str | None, typer.Option(help="Only tokens of this subject. Default: of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 25,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = Shape.TABLE,
) -> None:  # fmt: skip
    """List portal tokens, newest first; never their text.

    \b
    Example:
      meterport token list --subject acme
    """
    with connected(context, config, data_dir, server) as api:
        tokens = api.tokens(subject, limit)
    if format_ is Shape.JSON:
        print_json(tokens)
        return
    header = ["id", "subject", "meters", "created", "expires", "state"]
    print_table(header, [_token_cells(one) for one in tokens])


@token.command("invalidate")
def invalidate_token(
    context: typer.Context,
    id_: Annotated[str | None, typer.Option("--id", help="Id of the token, as listed.")] = None,
    subject: Annotated[str | None, typer.Option(help="Invalidate every token of this subject.")] = None,
    issued_before: Annotated[
        str | None,
        typer.Option(
            help="Invalidate every token of everybody issued before this time (UTC unless it has an offset), or "
            "before `now`, as after a restore."
        ),
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Invalidate one token by its id, all tokens of a subject, or all that were issued before a time; at once.

    Tokens that the store has no record of are invalidated, too, as those issued after the backup that was restored.
    Doing it twice changes nothing.

    \b
    Examples:
      meterport token invalidate --subject acme
      meterport token invalidate --issued-before 2026-03-01T12:30:00Z
      meterport token invalidate --issued-before now
    """
    wanted = {name: text for name, text in (("id", id_), ("subject", subject)) if text is not None}
    if issued_before is not None:
        now = issued_before == "now"  # to the millisecond, unlike what a shell's `date` prints
        wanted["issuedBefore"] = utc_now().isoformat() if now else timestamp(issued_before, read_zone("UTC"))
    if not wanted:
        raise typer.BadParameter("give --id, --subject or --issued-before")
    with connected(context, config, data_dir, server) as api:
        api.invalidate_tokens(wanted)
    say("invalidated")


def query(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The meter's slug, or its id.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Start, inclusive: a time, or a date in --time-zone. Default: the first event."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="End, exclusive: a time, or a date in --time-zone. Default: the last event.")
    ] = None,
    window_size: Annotated[
        WindowSize | None,
        typer.Option(help="One row a minute, hour, day or month. Default: one in all.", case_sensitive=False),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="IANA zone in which days and months begin.")] = "UTC",
    group_by: Annotated[
        list[str] | None, typer.Option(help="One row for each value of this dimension, or subject; repeat it for more.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", help="Only events whose dimension has a value, KEY=VALUE; of one KEY any of them."),
    ] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject; repeat it for more.")] = None,
    format_: Annotated[
        UsageShape, typer.Option("--format", help="How to print it: a table, or the API's JSON or CSV.")
    ] = UsageShape.TABLE,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Print usage of a meter. Values are exact; a row is a window [start, end) of a group.

    \b
    Example:
      meterport query tokens --from 2026-03-01 --window-size DAY \\
        --time-zone Europe/Berlin --group-by model
    """
    zone = read_zone(time_zone)
    wanted = {
        "from": timestamp(from_, zone) if from_ is not None else None,
        "to": timestamp(to, zone) if to is not None else None,
        "windowSize": window_size.value if window_size else None,
        "windowTimeZone": time_zone,
        "groupBy": group_by,
        "filterGroupBy": _filters(filter_ or []),
        "subject": subject,
    }
    accept = "text/csv" if format_ is UsageShape.CSV else "application/json"
    with connected(context, config, data_dir, server) as api:
        answer = api.query(slug, {name: value for name, value in wanted.items() if value}, accept)
    if format_ is UsageShape.TABLE:
        print_usage(answer.json(parse_float=Decimal)["data"], group_by or [], subject)
    elif format_ is UsageShape.JSON:
        print_document(answer.content.rstrip(b"\n"))
    else:
        print_csv(answer.content.rstrip(b"\n"))


def print_usage(rows: Sequence[dict[str, Any]], group_by: Sequence[str], subjects: Sequence[str] | None = None) -> None:
    """Print rows of an answer as a table."""
    keys = [key for key in group_by if key != "subject"]
    by_subject = ["subject"] if subjects or "subject" in group_by else []
    cells = [
        [row["windowStart"], row["windowEnd"], *(row[key] for key in by_subject)]
        + [row["groupBy"].get(key) or "" for key in keys]
        + [format(row["value"], "f") if isinstance(row["value"], Decimal) else str(row["value"])]
        for row in rows
    ]
    print_table(["from", "to", *by_subject, *keys, "value"], cells)


# how options are read


def _dimensions(texts: Iterable[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for text in texts:
        key, equals, path = text.partition("=")
        if key in paths:
            raise typer.BadParameter(f"--group-by {printable(key)} is given twice")
        paths[key] = path if equals else f"$.{key}"
    return paths


def _filters(texts: Iterable[str]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--filter must be KEY=VALUE, not {printable(text)}")
        filters.setdefault(key, []).append(value)
    return filters


def _end(text: str) -> str:
    duration = _DURATION.match(text)
    if not duration:
        return timestamp(text, read_zone("UTC"))
    try:
        return (utc_now() + timedelta(seconds=int(duration[1]) * _UNITS[duration[2]])).isoformat()
    except OverflowError:
        raise InvalidRequest(f"{text} from now is past the year 9999") from None


# how answers look


def _print_meters(listed: Sequence[dict[str, Any]], format_: Shape) -> None:
    if format_ is Shape.JSON:
        print_json(listed)
        return
    header = ["slug", "aggregation", "event type", "value", "group by"]
    print_table(header, [_meter_cells(meter) for meter in listed])


def _meter_cells(meter: dict[str, Any]) -> list[str]:
    counted = [meter["slug"], meter["aggregation"], meter["eventType"], meter.get("valueProperty", "")]
    return [*counted, ", ".join(meter.get("groupBy", {}))]


def _token_cells(one: dict[str, Any]) -> list[str]:
    state = "revoked" if one.get("revoked") else "expired" if one.get("expired") else "valid"
    meters_ = ", ".join(one["allowedMeterSlugs"]) or "all"
    return [one["id"], one["subject"], meters_, one["createdAt"], one["expiresAt"], state]
