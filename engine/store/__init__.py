"""ClickHouse, as a server or embedded in this process: connections, statements, the schema, limits and errors."""
