"""Functions of librdkafka that its Python package does not offer: they make a client or a broker fail.

Owns: `fail_for_good`, and `MockCluster`, whose broker refuses requests as a test tells it.
Source: librdkafka src/rdkafka.h, src/rdkafka_mock.h.
"""

import ctypes
import functools
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient

_PRODUCE = 0  # the key of the request, by the Kafka protocol


@functools.cache
def librdkafka() -> ctypes.CDLL:
    [path] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    return library


def fail_for_good(client: object, code: int) -> None:
    """Cause a fatal error in librdkafka, after which its client no longer works, as librdkafka's own tests do."""
    assert librdkafka().rd_kafka_test_fatal_error(_handle(client), code, b"made by a test") == 0


def _handle(client: object) -> ctypes.c_void_p:
    return ctypes.c_void_p.from_address(id(client) + object.__basicsize__)  # the first field of the C object


class MockCluster:
    """A cluster of one broker in this process. It creates each topic that a client asks about, with 4 partitions."""

    def __init__(self) -> None:
        self._owner = AdminClient({"test.mock.num.brokers": 1, "log_level": 0})  # the cluster ends with it
        [broker] = self._owner.list_topics(timeout=10).brokers.values()
        self._broker_id = broker.id
        self.bootstrap = f"{broker.host}:{broker.port}"

    def refuse_next_records(self, code: int) -> None:
        """Answer the next request that brings records with an error, and store nothing of it."""
        librdkafka().rd_kafka_mock_push_request_errors(
            self._cluster, ctypes.c_int16(_PRODUCE), ctypes.c_size_t(1), ctypes.c_int(code)
        )

    def answer_after(self, milliseconds: int) -> None:
        """Answer each request so much later."""
        assert librdkafka().rd_kafka_mock_broker_set_rtt(self._cluster, self._broker_id, milliseconds) == 0

    def close(self) -> None:
        """End the cluster."""
        del self._owner

    @property
    def _cluster(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(librdkafka().rd_kafka_handle_mock_cluster(_handle(self._owner)))
