"""The command `import`: its options, its progress, and its summary."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InvalidRequest, MeterportError
from engine.texts import printable
from ingest.importer.columns import COLUMN, ColumnMapping, column_names
from ingest.importer.event_file import EventFile, FileFormat
from ingest.importer.importer import EventSink, Importer
from ingest.importer.positions import ImportPosition, PositionFile
from ingest.importer.row_times import Ambiguous, TimeUnit
from ingest.importer.summary import Report, counted
from meterport.configuration import command_settings
from meterport.connection import connect_from_options
from meterport.options import Config, DataDir, Server
from meterport.progress import ImportProgress, SpoolProgress


def import_command(
    path: Annotated[
        Path,
        typer.Argument(
            help="The file, or - for standard input. NDJSON and CSV may be compressed with gzip or Zstandard.",
            metavar="FILE",
        ),
    ],
    format_: Annotated[
        FileFormat | None,
        typer.Option("--format", help="Format of the file. Default: by the ending of its name."),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Event type: a constant, or column:NAME. Write text:NAME if the constant is also a column's name.",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Event source: a constant, or column:NAME. Default: import.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Event subject: a constant, or column:NAME.")] = None,
    id_: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="Event id: column:A, or column:A,B for the joined cells. Default: a hash of the event.",
            metavar="column:A,B",
        ),
    ] = None,
    time_: Annotated[str | None, typer.Option("--time", help="Event time: column:NAME, or a constant.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA time zone of times without an offset.")] = "UTC",
    time_unit: Annotated[
        TimeUnit | None,
        typer.Option(
            help="The unit if times are numbers, counted from 1970-01-01 UTC. Default: numbers are not read as times."
        ),
    ] = None,
    ambiguous: Annotated[
        Ambiguous,
        typer.Option(help="Which of the two instants to use for a local time that occurs twice when clocks go back."),
    ] = Ambiguous.ERROR,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Columns that become data. Default: all that no other option uses.", metavar="A,B,C"),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column whose cells stay strings, even if they are numbers; repeatable.", metavar="COLUMN"),
    ] = None,
    null: Annotated[
        list[str] | None,
        typer.Option(help="Text that means an empty CSV cell, such as NA; repeatable.", metavar="TEXT"),
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Skip and report rows that cannot become an event.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start at the first row, not where an earlier run of this file ended.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    server: Server = None,
) -> None:
    """Import events from a file: CloudEvents as NDJSON, or rows of CSV or Parquet.

    A CSV or Parquet file with the columns id, source, type and subject (and optionally time, and data as JSON) contains
    events. The rows of any other file are mapped to events; this needs --type, --subject and --time. Empty cells and
    NaN are left out of data.

    \b
    Example:
      meterport import flights.csv --type flight \\
        --subject column:carrier --time column:time_hour

    A local time that occurs twice, in the hour when clocks go back, makes a row
    invalid. --ambiguous earlier or later uses one of the two instants for all such rows;
    infer uses the later one if the rows of a subject, in the order of time, go back or
    repeat a time.

    Without --id, the id is a hash of the event's source, type, subject, time and data. If you import the same rows
    again from a file that has grown, or was compressed or saved again, each row counts once; with another --type they
    are different events. Equal rows of one file are numbered, so that each of them counts. If you correct the
    mapping, the rows become different events, and the events of the wrong mapping stay. All this holds as long as
    duplicates are found (ingest.duplicate_window_days).

    A second run continues where the first one ended, if the store still has the rows of the first. An invalid row ends
    the import at once; with --skip-invalid it is skipped. At the end, the command prints how many rows were stored, how
    many were stored already (before, or with the id of an earlier row), and how many are not counted by every meter.
    The exit status is 1 if the import ended early, or if no row became an event.
    """
    settings = command_settings(config, serves=False, data_dir=data_dir)
    mapping = ColumnMapping(
        type_,
        source,
        subject,
        _join_ids(id_),
        time_,
        time_zone,
        _data_columns(data),
        tuple(sorted(null or ())),
        tuple(sorted(text or ())),
        time_unit,
        ambiguous,
    )
    file = EventFile(path, format_, mapping, SpoolProgress().update)
    positions = PositionFile(settings.data_dir, file, mapping, server or "", settings.trust_data_dir)
    started, report = time.monotonic(), Report()
    window = timedelta(days=settings.ingest.duplicate_window_days)
    try:
        with connect_from_options(config, data_dir, server) as sink:
            done = import_file(sink, file, positions, skip_invalid, restart, report, window)
    except MeterportError:
        if report.moved:  # Report what is stored, whatever ended the import.
            _print(report, file, started)
        raise
    _print(report, file, started)
    if not done.read and not file.empty:
        raise InvalidRequest(f"{file.label}: it holds no rows, so nothing was imported")
    if done.read and not done.sent:
        raise typer.Exit(1)


def _print(report: Report, file: EventFile, started: float) -> None:
    """Print the summary. It is escaped, because reasons in it may contain text from the file or the server.

    Args: started: when the import started, on the monotonic clock.
    """
    typer.echo("\n".join(map(printable, _lines(report, file, started))))


def _lines(report: Report, file: EventFile, started: float) -> Iterator[str]:
    """Yield the lines of the summary. Args: started: when the import started, on the monotonic clock."""
    yield from report.lines(time.monotonic() - started)
    if ambiguous := file.ambiguous_earlier + file.ambiguous_later:
        yield (
            f"{counted(ambiguous, 'local time')} {'occurs' if ambiguous == 1 else 'occur'} twice: "
            f"{file.ambiguous_earlier:,} taken as the earlier, {file.ambiguous_later:,} as the later"
        )


def _join_ids(ids: Sequence[str] | None) -> str | None:
    """Return the value of --id, which may be given several times, as one list of columns."""
    return ",".join([ids[0], *(id_.removeprefix(COLUMN) for id_ in ids[1:])]) if ids else None


def _data_columns(lists: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the columns that --data names; None if it was not given. Raises: InvalidRequest."""
    try:
        return None if not lists else tuple(name for line in lists for name in column_names(line))
    except InvalidRequest as error:
        raise InvalidRequest(f"--data: {error}") from None


def import_file(
    sink: EventSink,
    file: EventFile,
    positions: PositionFile,
    skip_invalid: bool = False,
    restart: bool = False,
    report: Report | None = None,
    window: timedelta = timedelta(days=35),
) -> ImportPosition:
    """Import a file and show the progress; return once all of its events are stored.

    Args: report: collects the results of the run. window: for how long the store finds duplicates.
    Raises: MeterportError: the reason why the import ended early.
    """
    with ImportProgress(file.name, file.rows) as progress:
        on_skip = progress.print_skipped if skip_invalid else None
        report = report or Report()
        importer = Importer(
            sink, positions, progress.update, on_skip, report.uncounted.add, report.reached, progress.print_note, window
        )
        return importer.run(file, restart, progress.update_storing)
