"""TLS in front of a server for tests: it decrypts what clients send, passes it on, and keeps the heads of requests.

Owns: `TlsFront`, and the certificates that it and its clients show, which one authority signs.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import trustme

_HOST = "127.0.0.1"


class Authority:
    """A certificate authority. `ca_file` is its own certificate, which clients trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def server_context(
        self, host: str = _HOST, not_after: datetime | None = None, asks_clients: bool = False
    ) -> ssl.SSLContext:
        """Return the context of a server that has a certificate for a host and, if it `asks_clients`, requires one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host, not_after=not_after).configure_cert(context)
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def expired_context(self) -> ssl.SSLContext:
        return self.server_context(not_after=datetime(2020, 1, 1, tzinfo=UTC))

    def client_files(self, name: str) -> tuple[Path, Path]:
        """Return the files of a client's certificate and of its private key."""
        issued = self._authority.issue_cert(common_name=name)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


class TlsFront:
    """A port that speaks TLS and passes each connection on to another port. `heads` are the heads of requests."""

    def __init__(self, context: ssl.SSLContext, target_port: int) -> None:
        self._context = context
        self._target = (_HOST, target_port)
        self._listener = socket.create_server((_HOST, 0))
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        client = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        try:
            client.do_handshake()
        except OSError:  # the client does not accept the certificate, or shows none
            _close_after_reading(socket.socket(fileno=client.detach()))
            return
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            for data in _received(client):
                if b" HTTP/1.1\r\n" in data:
                    self.heads.append(data.partition(b"\r\n\r\n")[0])
                server.sendall(data)

    def close(self) -> None:
        self._listener.close()


def _close_after_reading(connection: socket.socket) -> None:
    """Close a connection when the other side has: what is not read would make it lose the reason, which was sent."""
    with connection:
        for _ in _received(connection):
            pass


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client has gone
        for data in _received(source):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def _received(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the other side has gone
        while data := source.recv(1 << 16):
            yield data
