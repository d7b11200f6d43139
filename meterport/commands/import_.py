"""The command `import`: its options, its progress, and what it says at the end."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InvalidRequest, MeterportError
from engine.texts import printable
from ingest.importer.columns import COLUMN, ColumnMapping, column_names
from ingest.importer.files import EventFile, FileFormat
from ingest.importer.importer import EventSink, Importer
from ingest.importer.local_times import Ambiguous, TimeUnit
from ingest.importer.positions import ImportPosition, PositionFile
from ingest.importer.summary import Report, counted
from meterport.configuration import settings_of
from meterport.connection import connected
from meterport.options import Config, DataDir, Server
from meterport.progress import ImportProgress, SpoolProgress


def import_command(
    path: Annotated[
        Path,
        typer.Argument(
            help="The file, or - for standard input; NDJSON and CSV may be gzip or Zstandard.", metavar="FILE"
        ),
    ],
    format_: Annotated[
        FileFormat | None,
        typer.Option("--format", help="How to read it. Default: by the ending of its name."),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type", help="Event type: a constant, or column:NAME. A constant that is the name of a column: text:NAME."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Event source: a constant, or column:NAME. Default: import.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Event subject: a constant, or column:NAME.")] = None,
    id_: Annotated[
        list[str] | None,
        typer.Option("--id", help="Event id: column:A, or column:A,B joined. Default: a hash of what the row means."),
    ] = None,
    time_: Annotated[str | None, typer.Option("--time", help="Event time: column:NAME, or a constant.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA zone of times that carry no offset.")] = "UTC",
    time_unit: Annotated[
        TimeUnit | None,
        typer.Option(help="Times are numbers that count these from 1970 on. Default: no number is one."),
    ] = None,
    ambiguous: Annotated[
        Ambiguous,
        typer.Option(help="Which one is meant by a local time that occurs twice, when clocks are set back."),
    ] = Ambiguous.ERROR,
    data: Annotated[
        list[str] | None, typer.Option(help="Columns that become data, A,B,C. Default: all not used for anything else.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Column whose cells stay text, even those that are numbers; repeat it.")
    ] = None,
    null: Annotated[
        list[str] | None, typer.Option(help="Text that means an empty CSV cell, as NA; repeat it for more.")
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out and report rows that cannot become an event.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where an earlier run of this file got to.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    server: Server = None,
) -> None:
    """Import a file of events: NDJSON of CloudEvents, or CSV and Parquet.

    CSV and Parquet files with the columns id, source, type and subject (and time; data as JSON) hold events. The rows
    of others are mapped: --type, --subject and --time are needed. Empty cells and NaN are left out of data.

    \b
    Example:
      meterport import flights.csv --type flight \\
        --subject column:carrier --time column:time_hour

    A local time that occurs twice, in the hour when clocks are set back, makes a row
    invalid. --ambiguous earlier or later takes one of the two for all; infer takes the
    later one where the rows of a subject, in the order of time, go back or repeat a time.

    Without --id an id is a hash of what a row means: source, type, subject, time and data. The same rows in a file
    that grew, was packed or saved anew count once; imported as another --type they are other events. Equal rows of one
    file are told apart by their number. A mapping that was mended makes other events, and those of the wrong one stay.
    So it is for as long as duplicates are found (ingest.duplicate_window_days).

    A second run goes on where the first one ended, in a store that still has its rows. An invalid row ends the import
    at once, or is left out with --skip-invalid. At the end it says how many rows were stored, were stored already
    (before, or under the id of an earlier row), and are not counted by every meter. The exit status is 1 if no row
    became an event.
    """
    settings = settings_of(config, data_dir=data_dir)
    mapping = ColumnMapping(
        type_,
        source,
        subject,
        _joined(id_),
        time_,
        time_zone,
        _names(data),
        tuple(sorted(null or ())),
        tuple(sorted(text or ())),
        time_unit,
        ambiguous,
    )
    file = EventFile(path, format_, mapping, SpoolProgress().reached)
    positions = PositionFile(settings.data_dir, file, mapping, server or "", settings.trust_data_dir)
    began, report = time.monotonic(), Report()
    window = timedelta(days=settings.ingest.duplicate_window_days)
    try:
        with connected(config, data_dir, server) as sink:
            done = import_file(sink, file, positions, skip_invalid, restart, report, window)
    except MeterportError:
        if report.moved:  # what is stored is said, whatever ended the import
            _print(report, file, began)
        raise
    _print(report, file, began)
    if not done.read and not file.empty:
        raise InvalidRequest(f"{file.label}: it holds no rows, so nothing was imported")
    if done.read and not done.sent:
        raise typer.Exit(1)


def _print(report: Report, file: EventFile, began: float) -> None:
    """Print the summary: reasons in it may hold texts of the file, or of the server."""
    typer.echo("\n".join(map(printable, _lines(report, file, began))))


def _lines(report: Report, file: EventFile, began: float) -> Iterator[str]:
    """Yield what an import says at its end. `began`: on the monotonic clock."""
    yield from report.lines(time.monotonic() - began)
    if ambiguous := file.ambiguous_earlier + file.ambiguous_later:
        yield (
            f"{counted(ambiguous, 'local time')} {'occurs' if ambiguous == 1 else 'occur'} twice: "
            f"{file.ambiguous_earlier:,} taken as the earlier, {file.ambiguous_later:,} as the later"
        )


def _joined(ids: Sequence[str] | None) -> str | None:
    """Return what --id says, given once or several times, as one list of columns."""
    return ",".join([ids[0], *(id_.removeprefix(COLUMN) for id_ in ids[1:])]) if ids else None


def _names(lists: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the columns that --data names, or None if it was not given. Raises: InvalidRequest."""
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
    """Import a file, showing how far it is; returns once all of it is usage. Raises: MeterportError: why not.

    Args: report: takes up what the run does. window: how long the store finds duplicates.
    """
    with ImportProgress(file.name, file.rows) as progress:
        on_skip = progress.skipped if skip_invalid else None
        report = report or Report()
        importer = Importer(
            sink, positions, progress.reached, on_skip, report.uncounted.add, report.reached, progress.note, window
        )
        return importer.run(file, restart, progress.storing)
