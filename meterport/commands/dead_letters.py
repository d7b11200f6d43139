"""The commands `dead-letters list` and `dead-letters replay`.

Owns: their options, what is printed, and the requests a long replay is made of: REQUEST_LETTERS letters each, so that
it can be watched, and a server that is stopped waits for little.
"""

import time
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ingest.importer.local_times import read_zone, timestamp
from meterport.client import ApiClient
from meterport.connection import connected
from meterport.options import Config, DataDir, Server
from meterport.terminal import Format, OutputFormat, print_json, print_table, say

REQUEST_LETTERS = 2000
_SHOWN = 100  # problems printed at most
_LINE_SECONDS = 5

dead_letters = typer.Typer(
    help="Dead letters: records that could not become an event.", no_args_is_help=True, rich_markup_mode=None
)
Partition = Annotated[int | None, typer.Option(min=0, help="Only of this partition of the event log.")]
Offset = Annotated[int | None, typer.Option(min=0, help="Only at this offset; with --partition it is one letter.")]
Reason = Annotated[str | None, typer.Option(help="Only where this is a part of the reason.")]
From = Annotated[
    str | None, typer.Option("--from", help="Only what arrived at this time or later (UTC unless it has an offset).")
]
To = Annotated[str | None, typer.Option(help="Only what arrived before this time.")]


@dead_letters.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 25,
    partition: Partition = None, offset: Offset = None, reason: Reason = None, from_: From = None, to: To = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that were never replayed.")] = False,
    config: Config = None, data_dir: DataDir = None, server: Server = None, format_: Format = OutputFormat.TABLE,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:  # fmt: skip
    """List dead letters, the last arrived first: where each stood in the event log, and what was wrong.

    The JSON holds the records themselves, too: value, and headers of a Kafka record.

    \b
    Example:
      meterport dead-letters list --reason 'too far in the future' --waiting
      meterport dead-letters list --partition 3 --offset 4711 --json
    """
    filters = {**_filters(partition, offset, reason, from_, to), **({"replayed": "false"} if waiting else {})}
    with connected(config, data_dir, server) as api:
        found = api.dead_letters(limit, {name: str(value) for name, value in filters.items()})
    if json or format_ is OutputFormat.JSON:
        print_json(found)
    else:
        print_table(["arrived", "partition", "offset", "replayed", "reason"], [_cells(letter) for letter in found])


@dead_letters.command("replay")
def replay_letters(
    all_: Annotated[bool, typer.Option("--all", help="Every letter that was never replayed.")] = False,
    partition: Partition = None, offset: Offset = None, reason: Reason = None, from_: From = None, to: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would happen.")] = False,
    config: Config = None, data_dir: DataDir = None, server: Server = None,
) -> None:  # fmt: skip
    """Send dead letters that are events by today's rules to the event log again.

    For when what was wrong is mended here: a setting as ingest.future_seconds, or a release. What was wrong with the
    record itself its producer mends: it sends the event again, and the letter stays.

    A letter that is no event today either is told with its reason and stays as it is. However often this is run, each
    event counts once, also if its producer has sent it meanwhile. The exit status is 1 if not one letter was good.

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
    with connected(config, data_dir, server) as api, _Progress() as progress:
        replayed, known, invalid, problems = _replay(api, body, progress)
    for problem in problems:
        say(f"{problem['partition']}:{problem['offset']} of {problem['arrivedAt']}: {problem['reason']}")
    if invalid > len(problems):
        say(f"and {invalid - len(problems):,} more")
    if filters and not replayed and not invalid:
        say("no dead letter that was never replayed is chosen by these options")
    would_be = "would be " if dry_run else ""
    stored = f" ({known:,} of them stored already)" if known else ""
    typer.echo(f"{would_be}replayed {replayed:,}{stored}, still invalid {invalid:,}")
    if invalid and not replayed:
        raise typer.Exit(1)


def _replay(
    api: ApiClient, body: dict[str, object], progress: "_Progress"
) -> tuple[int, int, int, list[dict[str, Any]]]:
    """Replay a request's worth after the other.

    Returns: the numbers replayed, of these stored already, and still invalid; and some problems.
    """
    replayed = known = invalid = 0
    problems: list[dict[str, Any]] = []
    after: dict[str, object] = {}
    while True:
        answer = api.replay_dead_letters({**body, **after, "limit": REQUEST_LETTERS})
        replayed += answer["replayed"]
        known += answer.get("alreadyStored", 0)
        invalid += answer["stillInvalid"]
        problems += answer["problems"][: _SHOWN - len(problems)]
        progress.reached(replayed + invalid, answer.get("remaining", 0))
        if "next" not in answer:
            return replayed, known, invalid, problems
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


def _cells(letter: dict[str, Any]) -> list[str]:
    place = [letter["arrivedAt"], str(letter["partition"]), str(letter["offset"])]
    return [*place, letter.get("replayedAt", ""), letter["reason"]]


class _Progress:
    """How far a replay is: a bar on a terminal, a line every few seconds anywhere else; both on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("dead letters", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def reached(self, done: int, remaining: int) -> None:
        """Show how many letters were looked at, and how many are left."""
        if self._bar:
            self._bar.update(self._task, completed=done, total=done + remaining)
        elif time.monotonic() - self._spoke >= _LINE_SECONDS:
            self._spoke = time.monotonic()
            self._console.print(Text(f"{done:,} of {done + remaining:,} dead letters"), soft_wrap=True)
