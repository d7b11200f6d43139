"""How a command reaches an API: a given server, the process that uses the data directory, or a server of its own."""

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from engine.config.api_keys import ApiKey
from engine.config.redaction import without_userinfo
from engine.config.settings import Settings
from engine.config.urls import is_http_url
from engine.errors import ConfigurationError, DataDirectoryInUse
from engine.logging_setup import configure_logging
from meterport.addresses import is_local_url, local_url
from meterport.client import ApiClient
from meterport.configuration import command_settings
from meterport.terminal import say

if TYPE_CHECKING:
    from meterport.process import Process


def connect_from_options(
    config: Path | None, data_dir: Path | None, server: str | None
) -> contextlib.AbstractContextManager[ApiClient]:
    """Return a context manager that yields a client of the API that a command's options select; see `connect`."""
    return connect(command_settings(config, serves=False, data_dir=data_dir), server)


@contextlib.contextmanager
def connect(settings: Settings, server: str | None = None) -> Iterator[ApiClient]:
    """Yield a client of `server`, or of the process that has the data directory open, or of a server of this process.

    With a configured ClickHouse server (`store.url`), no server is started in this process: the client uses `server`,
    or the address in the settings.
    Raises: ConfigurationError.
    """
    if server is not None and not is_http_url(server):
        raise ConfigurationError(
            f"--server: {without_userinfo(server)!r} is not the URL of a server: http(s)://host:port"
        )
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = local_url(settings.server.host, settings.server.port)
    if server or settings.store.url:
        hint = "" if server else "; give the URL of a running server with --server"
        with contextlib.closing(ApiClient(server or url, key, hint, proxied=True, on_pause=say)) as client:
            yield client
        return
    from meterport.process import Process  # noqa: PLC0415 - it imports the store; commands that use a server start fast

    own_key = secrets.token_urlsafe(32)  # Other users of this machine can reach the port, but do not know the key.
    try:
        only_own = {"api_key": SecretStr(own_key), "api_key_sha256": None, "api_keys": list[ApiKey]()}
        process = Process(settings.model_copy(update=only_own))
    except DataDirectoryInUse as error:
        hint = f"; {error}: give its URL with --server"
        if error.url and not is_local_url(error.url):
            problem = f"data_dir: its lock names {error.url}, which is not an address of this machine"
            raise ConfigurationError(f"{problem}{hint}") from None
        with contextlib.closing(ApiClient(error.url or url, key, hint, on_pause=say)) as client:
            yield client
        return
    with (
        _private_server(process) as private_url,
        contextlib.closing(ApiClient(private_url, own_key, on_pause=say)) as client,
    ):
        yield client


@contextlib.contextmanager
def _private_server(process: "Process") -> Iterator[str]:
    """Run a process and its server on a free loopback port; yield the URL.

    On exit the server stops, and the process drains its event log and stops.
    """
    from api.server.server import HttpServer, uvicorn_config  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = HttpServer(uvicorn_config(process.app(), "127.0.0.1", 0, process.settings))
        thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
        try:
            process.start()
            thread.start()
            yield url
        finally:
            server.should_exit = True
            if thread.is_alive():
                thread.join()
            process.stop(drain_seconds=process.settings.server.shutdown_seconds)
    if process.workers.failure:
        raise process.workers.failure
