"""All SQL statements, one per file; engine/store/sql.py reads them."""
