"""CloudEvents in binary mode as structured JSON: the part that the protocol bindings have in common.

Owns: how attributes from headers and a body are combined into the JSON of an event. How a header names an attribute
and how its value is encoded differs between the bindings; see engine/events/kafka.py and engine/events/http.py.
engine/events/cloudevents.py decides whether an event is valid. This module refuses an event only if it could not be
written as JSON, or if the reason would be hard to understand without the names of the headers.
Source: CloudEvents 1.0.2, Kafka protocol binding 3.2 and HTTP protocol binding 3.1.
"""

from collections.abc import Mapping

import msgspec
import orjson

from engine.errors import InvalidEvent
from engine.events.cloudevents import MAX_NESTING
from engine.events.unreadable import why_not_json

_REQUIRED = ("id", "source", "type", "subject", "specversion")
_json_decoder = msgspec.json.Decoder(msgspec.Raw)


def check_required(attributes: Mapping[str, str], prefix: str) -> None:
    """Check that no required attribute is missing.

    Raises: InvalidEvent: the message names the missing header, including `prefix`.
    """
    for name in _REQUIRED:
        if name not in attributes:
            raise InvalidEvent(f"header {prefix}{name} is missing", name)


def event_json(attributes: Mapping[str, str], data: bytes | None) -> bytes:
    """Return the JSON of an event. It contains `data` unchanged; empty data is left out.

    Raises: InvalidEvent: the data is not JSON.
    """
    envelope = orjson.dumps(attributes)
    return envelope[:-1] + b',"data":' + _check_json(data) + b"}" if data else envelope


def _check_json(data: bytes) -> bytes:
    """Return the data if it is exactly one JSON value, so that it cannot close the envelope that contains it.

    Raises: InvalidEvent.
    """
    try:
        _json_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"data is not JSON: {why_not_json(data, error)}", "data") from None
    except RecursionError:
        raise InvalidEvent(f"data is nested deeper than {MAX_NESTING} levels", "data") from None
    return data
