"""The HTTP server: connections and their limits, the protocol, and how it is started and stopped."""
