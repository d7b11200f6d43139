"""The commands `token create`, `token list` and `token invalidate`."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from engine.errors import InvalidRequest
from engine.instants import utc_now
from engine.texts import name_shown, printable
from ingest.importer.local_times import read_zone, timestamp
from meterport.connection import connected
from meterport.options import Config, DataDir, Server
from meterport.terminal import Format, OutputFormat, print_json, print_table, say

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")


token = typer.Typer(
    help="Portal tokens: one customer's way to its own usage.", no_args_is_help=True, rich_markup_mode=None
)


@token.command("create")
def create_token(
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
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
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
    with connected(config, data_dir, server) as api:
        made = api.create_token(body)
    if format_ is OutputFormat.JSON:
        print_json(made)
    else:
        typer.echo(printable(made["token"]))
        allowed = ", ".join(made["allowedMeterSlugs"]) or "every meter"
        say(f"token {made['id']} of {name_shown(made['subject'])} for {allowed} until {made['expiresAt']}")


@token.command("list")
def list_tokens(
    subject: Annotated[str | None, typer.Option(help="Only tokens of this subject. Default: of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 25,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
) -> None:  # fmt: skip
    """List portal tokens, newest first; never their text.

    \b
    Example:
      meterport token list --subject acme
    """
    with connected(config, data_dir, server) as api:
        tokens = api.tokens(subject, limit)
    if format_ is OutputFormat.JSON:
        print_json(tokens)
        return
    header = ["id", "subject", "meters", "created", "expires", "state"]
    print_table(header, [_token_cells(one) for one in tokens])


@token.command("invalidate")
def invalidate_token(
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
    with connected(config, data_dir, server) as api:
        api.invalidate_tokens(wanted)
    say("invalidated")


def _end(text: str) -> str:
    duration = _DURATION.match(text)
    if not duration:
        return timestamp(text, read_zone("UTC"))
    try:
        return (utc_now() + timedelta(seconds=int(duration[1]) * _UNITS[duration[2]])).isoformat()
    except OverflowError:
        raise InvalidRequest(f"{text} from now is past the year 9999") from None


def _token_cells(one: dict[str, Any]) -> list[str]:
    state = "revoked" if one.get("revoked") else "expired" if one.get("expired") else "valid"
    meters_ = ", ".join(one["allowedMeterSlugs"]) or "all"
    return [one["id"], one["subject"], meters_, one["createdAt"], one["expiresAt"], state]
