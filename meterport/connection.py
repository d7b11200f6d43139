"""How a command reaches an API: a server's, that of the process that has the data directory, or one of its own."""

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from engine.config.redaction import without_userinfo
from engine.config.settings import Settings, is_http_url
from engine.errors import ConfigurationError, DataDirectoryInUse
from engine.logging_setup import configure_logging
from meterport.addresses import is_of_this_machine, local_url
from meterport.client import ApiClient
from meterport.configuration import settings_of
from meterport.terminal import say

if TYPE_CHECKING:
    from meterport.process import Process


def connected(
    config: Path | None, data_dir: Path | None, server: str | None
) -> contextlib.AbstractContextManager[ApiClient]:
    """Yield a client of the API that the options of a command mean; see `connect`."""
    return connect(settings_of(config, data_dir=data_dir), server)


@contextlib.contextmanager
def connect(settings: Settings, server: str | None = None) -> Iterator[ApiClient]:
    """Yield a client of `server`; or of the process that has the data directory open; or of one within this.

    With a ClickHouse server configured there is no third way: whoever serves from it may be anywhere.
    """
    if server is not None and not is_http_url(server):
        raise ConfigurationError(f"--server: {without_userinfo(server)!r} is no URL of a server: http(s)://host:port")
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = local_url(settings.server.host, settings.server.port)
    if server or settings.store.url:
        hint = "" if server else "; give the URL of a running server with --server"
        with contextlib.closing(ApiClient(server or url, key, hint, proxied=True, on_pause=say)) as client:
            yield client
        return
    from meterport.process import Process  # noqa: PLC0415 - with the store and all; a command that asks a server starts fast

    own_key = secrets.token_urlsafe(32)  # other users of this machine can reach the port, but not know the key
    try:
        process = Process(settings.model_copy(update={"api_key": SecretStr(own_key), "api_key_sha256": None}))
    except DataDirectoryInUse as error:
        hint = f"; but {error}: give its URL with --server"
        if error.url and not is_of_this_machine(error.url):
            wrong = f"data_dir: its lock names {error.url}, which is no address of this machine"
            raise ConfigurationError(f"{wrong}{hint}") from None
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
    """Run a process and a server of it on a free loopback port; on leaving, both end and the log is drained."""
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
