"""The commands `dead-letters list` and `dead-letters replay`.

Owns: their options and output, and the requests of which a long replay consists: REQUEST_LETTERS letters each, so that
progress can be shown, and so that a server that is being stopped does not wait long for a request.
"""

from typing import Annotated, Any

import typer

from engine.usage.local_times import read_zone, timestamp
from meterport.client import ApiClient
from meterport.connection import connect_from_options
from meterport.options import Config, DataDir, Server
from meterport.progress import ReplayProgress
from meterport.terminal import Format, OutputFormat, print_json, print_table, say

REQUEST_LETTERS = 2000
_MAX_PROBLEMS = 100  # printed

dead_letters = typer.Typer(
    help="List and replay dead letters: records that are not events.", no_args_is_help=True, rich_markup_mode=None
)
Partition = Annotated[int | None, typer.Option(min=0, help="Only letters of this partition of the event log.")]
Offset = Annotated[
    int | None, typer.Option(min=0, help="Only letters at this offset; with --partition, exactly one letter.")
]
Reason = Annotated[str | None, typer.Option(help="Only letters whose reason contains this text.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="Only letters that arrived at this time or later (UTC unless it has an offset)."),
]
To = Annotated[str | None, typer.Option(help="Only letters that arrived before this time.")]


@dead_letters.command("list", short_help="List dead letters, the last arrived first.")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of letters.")] = 25,
    partition: Partition = None, offset: Offset = None, reason: Reason = None, from_: From = None, to: To = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only letters that were never replayed.")] = False,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:  # fmt: skip
    """List dead letters, the last arrived first: the position of each in the event log, and what is wrong with it.

    The JSON also contains the records themselves: the value, and the headers of a Kafka record.

    \b
    Example:
      meterport dead-letters list --reason 'too far in the future' --waiting
      meterport dead-letters list --partition 3 --offset 4711 --json
    """
    filters = {**_filters(partition, offset, reason, from_, to), **({"replayed": "false"} if waiting else {})}
    with connect_from_options(config, data_dir, server) as api:
        found = api.list_dead_letters(limit, {name: str(value) for name, value in filters.items()})
    if json or format_ is OutputFormat.JSON:
        print_json(found)
    else:
        print_table(["arrived", "partition", "offset", "replayed", "reason"], [_table_row(letter) for letter in found])


@dead_letters.command("replay", short_help="Send dead letters that are valid events now to the event log again.")
def replay_letters(
    all_: Annotated[bool, typer.Option("--all", help="All letters that were never replayed.")] = False,
    partition: Partition = None, offset: Offset = None, reason: Reason = None, from_: From = None, to: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would happen.")] = False,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Send dead letters that are valid events under the current rules to the event log again.

    Use it after the cause was corrected in Meterport: a setting such as ingest.future_seconds, or a release. If the
    record itself is wrong, its producer must correct it and send the event again; the letter stays.

    A letter that is still not a valid event is reported with its reason and stays as it is. Each event counts once,
    however often you run this, and also if its producer has sent it again. The exit status is 1 if no letter could be
    replayed and at least one is still invalid.

    \b
    Example:
      meterport dead-letters replay --reason 'too far in the future' --dry-run
      meterport dead-letters replay --from 2026-03-01 --to 2026-03-02
      meterport dead-letters replay --partition 3 --offset 4711
      meterport dead-letters replay --all
    """
    filters = _filters(partition, offset, reason, from_, to)
    if all_ == bool(filters):
        raise typer.BadParameter("give --all, or choose by --partition, --offset, --reason, --from and --to")
    body = {**(filters or {"all": True}), "dryRun": dry_run}
    with connect_from_options(config, data_dir, server) as api, ReplayProgress() as progress:
        replayed, already_stored, invalid, problems = _replay(api, body, progress)
    for problem in problems:
        say(f"{problem['partition']}:{problem['offset']} of {problem['arrivedAt']}: {problem['reason']}")
    if invalid > len(problems):
        say(f"and {invalid - len(problems):,} more")
    if filters and not replayed and not invalid:
        say("these options select no dead letter, or only letters that were replayed already")
    verb = "would replay" if dry_run else "replayed"
    stored = f" ({already_stored:,} of them stored already)" if already_stored else ""
    typer.echo(f"{verb} {replayed:,}{stored}, still invalid {invalid:,}")
    if invalid and not replayed:
        raise typer.Exit(1)


def _replay(
    api: ApiClient, body: dict[str, object], progress: ReplayProgress
) -> tuple[int, int, int, list[dict[str, Any]]]:
    """Replay all letters that `body` selects, one request after another.

    Returns: how many letters were replayed, how many of these events were stored already, how many letters are still
        invalid, and the first problems, at most _MAX_PROBLEMS.
    """
    replayed = already_stored = invalid = 0
    problems: list[dict[str, Any]] = []
    after: dict[str, object] = {}
    while True:
        answer = api.replay_dead_letters({**body, **after, "limit": REQUEST_LETTERS})
        replayed += answer["replayed"]
        already_stored += answer.get("alreadyStored", 0)
        invalid += answer["stillInvalid"]
        problems += answer["problems"][: _MAX_PROBLEMS - len(problems)]
        progress.update(replayed + invalid, answer.get("remaining", 0))
        if "next" not in answer:
            return replayed, already_stored, invalid, problems
        after = {"after": answer["next"]}


def _filters(
    partition: int | None, offset: int | None, reason: str | None, from_: str | None, to: str | None
) -> dict[str, object]:
    zone = read_zone("UTC")
    given = {
        "partition": partition,
        "offset": offset,
        "reason": reason,
        "from": timestamp(from_, zone) if from_ is not None else None,
        "to": timestamp(to, zone) if to is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _table_row(letter: dict[str, Any]) -> list[str]:
    position = [letter["arrivedAt"], str(letter["partition"]), str(letter["offset"])]
    return [*position, letter.get("replayedAt", ""), letter["reason"]]
