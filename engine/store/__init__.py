"""ClickHouse, as a server or inside this process: connections, statements, the schema, limits and errors."""
