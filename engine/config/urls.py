"""Checks of the URLs in settings and options."""

from urllib.parse import urlsplit


def is_http_url(text: str) -> bool:
    """Return whether a text is an http or https URL with a host; a port, if there is one, must be valid."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
