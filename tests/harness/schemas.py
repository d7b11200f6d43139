"""The schema of a store in tests: as text, its records, and the migrations of a release that is newer than this one.

Owns: what "the same schema" means. `NEWER` changes tables in the ways that a later release may.
"""

import re
from pathlib import Path

from engine.store.clickhouse import Store
from engine.store.migrations import Migration

GOLDEN = Path(__file__).parents[1] / "schema.sql"
HEADER = (
    "-- The schema as all migrations leave it. Made by "
    "METERPORT_TEST_RENEW=1 pytest tests/engine/store/test_migrations.py\n"
)
NEWEST = "0012_subjects"  # the newest migration of this release
# The first three keep this release working, the fourth does not.
NEWER = [
    Migration("0013_region", "ALTER TABLE events ADD COLUMN IF NOT EXISTS region String AFTER data", "13", NEWEST),
    Migration("0014_regions", "CREATE TABLE IF NOT EXISTS regions (a String) ENGINE = Log", "14", NEWEST),
    Migration("0015_by_region", "ALTER TABLE events ADD INDEX IF NOT EXISTS r region TYPE set(0)", "15", NEWEST),
    Migration("0016_no_key", "ALTER TABLE subjects DROP COLUMN IF EXISTS key", "16", "0013_region"),
]


def schema(store: Store) -> str:
    """Return the CREATE statement of each table and view by name, without the name of the database."""
    rows = store.rows(
        "SELECT database, formatQuery(create_table_query) FROM system.tables WHERE database = currentDatabase() "
        "ORDER BY name"
    )
    statements = [re.sub(rf"`?{database}`?[.]", "", text) for database, text in rows]
    return "\n".join(f"\n{text};" for text in statements).lstrip() + "\n"


def completed(store: Store) -> list[str]:
    """Return the names of the migrations that have completed."""
    rows = store.rows("SELECT name FROM schema_migrations FINAL WHERE completed_at IS NOT NULL ORDER BY name")
    return [name for (name,) in rows]
