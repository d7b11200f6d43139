"""The HTTP server: its connections and their limits, the protocol, and how the server starts and stops."""
