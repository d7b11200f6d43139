"""The HTTP interface: routes, authentication, problems."""
