"""`meterport` with another clock: the first argument says how many seconds it is ahead (negative: behind)."""

import sys
from datetime import datetime, timedelta, tzinfo

import engine.instants
import meterport

AHEAD = timedelta(seconds=float(sys.argv.pop(1)))


class OtherClock(datetime):
    """A datetime whose `now` is wrong."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + AHEAD


if __name__ == "__main__":
    vars(engine.instants)["datetime"] = OtherClock  # only that module reads the clock
    meterport.main()
