"""The commands `token create`, `token list` and `token invalidate`."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from engine.errors import InvalidRequest
from engine.instants import utc_now
from engine.texts import printable, printable_name
from engine.usage.local_times import read_zone, timestamp
from meterport.connection import connect_from_options
from meterport.options import Config, DataDir, Server
from meterport.terminal import Format, OutputFormat, print_json, print_table, say

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")


token = typer.Typer(
    help="Create, list and invalidate portal tokens, which show customers their usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@token.command("create")
def create_token(
    subject: Annotated[str, typer.Argument(help="Subject whose usage the token shows, as in the events.")],
    meter: Annotated[
        list[str] | None,
        typer.Option(help="Slug of a meter that the token may query; repeatable. Default: all.", metavar="SLUG"),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="When the token expires: after 90s, 15m, 24h or 30d, or at a time (UTC unless it has an offset). "
            "Default: the server's portal.token_seconds, 24h."
        ),
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
) -> None:  # fmt: skip
    """Create a portal token and print it. It cannot be shown again.

    \b
    Example:
      TOKEN=$(meterport token create acme --meter tokens --expires 7d)
    """
    body: dict[str, object] = {"subject": subject}
    if meter:
        body["allowedMeterSlugs"] = meter
    if expires is not None:
        body["expiresAt"] = _expiry(expires)
    with connect_from_options(config, data_dir, server) as api:
        created = api.create_token(body)
    if format_ is OutputFormat.JSON:
        print_json(created)
    else:
        typer.echo(printable(created["token"]))
        allowed = ", ".join(created["allowedMeterSlugs"]) or "every meter"
        say(f"token {created['id']} of {printable_name(created['subject'])} for {allowed} until {created['expiresAt']}")


@token.command("list")
def list_tokens(
    subject: Annotated[str | None, typer.Option(help="Only tokens of this subject. Default: of all subjects.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of tokens.")] = 25,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
) -> None:  # fmt: skip
    """List portal tokens, newest first. The tokens themselves are never shown.

    \b
    Example:
      meterport token list --subject acme
    """
    with connect_from_options(config, data_dir, server) as api:
        tokens = api.list_tokens(subject, limit)
    if format_ is OutputFormat.JSON:
        print_json(tokens)
        return
    header = ["id", "subject", "meters", "created", "expires", "state"]
    print_table(header, [_table_row(token_) for token_ in tokens])


@token.command("invalidate", short_help="Invalidate one token, or all of a subject or issued before a time.")
def invalidate_token(
    id_: Annotated[str | None, typer.Option("--id", help="Id of the token, as `token list` shows it.")] = None,
    subject: Annotated[str | None, typer.Option(help="Invalidate every token of this subject.")] = None,
    issued_before: Annotated[
        str | None,
        typer.Option(
            help="Invalidate the tokens of all subjects that were issued before this time (UTC unless it has an "
            "offset), or before `now`, for example after a restore."
        ),
    ] = None,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Invalidate one token by its id, all tokens of a subject, or all that were issued before a time. It acts at once.

    Tokens without a record in the store are invalidated too, such as tokens issued after the backup that was restored.
    You can safely run the command twice.

    \b
    Examples:
      meterport token invalidate --subject acme
      meterport token invalidate --issued-before 2026-03-01T12:30:00Z
      meterport token invalidate --issued-before now
    """
    body = {name: text for name, text in (("id", id_), ("subject", subject)) if text is not None}
    if issued_before is not None:
        now = issued_before == "now"  # It is more precise than what `date` prints in a shell.
        body["issuedBefore"] = utc_now().isoformat() if now else timestamp(issued_before, read_zone("UTC"))
    if not body:
        raise typer.BadParameter("give --id, --subject or --issued-before")
    with connect_from_options(config, data_dir, server) as api:
        api.invalidate_tokens(body)
    say("invalidated")


def _expiry(text: str) -> str:
    duration = _DURATION.match(text)
    if not duration:
        return timestamp(text, read_zone("UTC"))
    try:
        return (utc_now() + timedelta(seconds=int(duration[1]) * _UNITS[duration[2]])).isoformat()
    except OverflowError:
        raise InvalidRequest(f"{text} from now is after the year 9999") from None


def _table_row(token_: dict[str, Any]) -> list[str]:
    state = "invalidated" if token_.get("revoked") else "expired" if token_.get("expired") else "valid"
    meters_ = ", ".join(token_["allowedMeterSlugs"]) or "all"
    return [token_["id"], token_["subject"], meters_, token_["createdAt"], token_["expiresAt"], state]
