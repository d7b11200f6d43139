"""CloudEvents in binary mode as structured JSON: what the protocol bindings have in common.

Owns: the event that attributes (taken from headers) and a body make together. How a header names an attribute, and how
its value is written, differs between the bindings: engine/events/kafka.py and engine/events/http.py.
What makes an event valid is not decided here but in engine/events/cloudevents.py. Binary mode is refused here only
where the event could not be put into JSON, or where the reason would be hard to understand without the headers.
Source: CloudEvents 1.0.2, Kafka protocol binding 3.2 and HTTP protocol binding 3.1.
"""

from collections.abc import Mapping

import msgspec
import orjson

from engine.errors import InvalidEvent
from engine.events.cloudevents import NESTING
from engine.events.unreadable import why_not_json

_REQUIRED = ("id", "source", "type", "subject", "specversion")
_json_decoder = msgspec.json.Decoder(msgspec.Raw)


def check_required(attributes: Mapping[str, str], prefix: str) -> None:
    """Check that no required attribute is missing. Raises: InvalidEvent: names the header, `prefix` included."""
    for name in _REQUIRED:
        if name not in attributes:
            raise InvalidEvent(f"header {prefix}{name} is missing", name)


def event_json(attributes: Mapping[str, str], data: bytes | None) -> bytes:
    """Return the JSON of an event; `data` is put into it as it is, an empty one is left out.

    Raises: InvalidEvent: the data is no JSON.
    """
    envelope = orjson.dumps(attributes)
    return envelope[:-1] + b',"data":' + _json(data) + b"}" if data else envelope


def _json(data: bytes) -> bytes:
    """Return the data, which is one JSON value and so cannot end the envelope it is put into."""
    try:
        _json_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"data is not JSON: {why_not_json(data, error)}", "data") from None
    except RecursionError:
        raise InvalidEvent(f"data is nested deeper than {NESTING} levels", "data") from None
    return data
