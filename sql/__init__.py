"""Every SQL statement, one per file; read through engine/store/sql.py."""
