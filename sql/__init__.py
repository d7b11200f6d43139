"""Every SQL statement, one per file; read through engine/sql.py."""
