"""Run every benchmark: `make bench`, or `python -m benchmarks ingest --events 500000`."""

from collections.abc import Callable
from typing import Annotated

import typer

from benchmarks import backlog, ingest, kafka, latency, live, page, reading

BENCHMARKS: dict[str, Callable[[int], list[str]]] = {
    "ingest": ingest.run,
    "kafka": kafka.run,
    "backlog": backlog.run,
    "latency": latency.run,
    "live": live.run,
    "reading": reading.run,
    "page": page.run,
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Any of {', '.join(BENCHMARKS)}; by default all.")] = None,
    events: Annotated[int, typer.Option(help="The number of events of each benchmark.")] = 500_000,
) -> None:
    """Run the benchmarks, and print one line for each result, ratios first."""
    for name in names or list(BENCHMARKS):
        for line in BENCHMARKS[name](events):
            typer.echo(f"{name}: {line}")


if __name__ == "__main__":
    typer.run(main)
