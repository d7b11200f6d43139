"""Duplicate members: an event has each attribute once, but inside `data` the producer decides.

Case S13: otherwise a gateway that checks the first of two members could be bypassed, if the last one counts.
"""

import orjson
import pytest

from engine.errors import InvalidEvent
from engine.events.bulk_decoder import decode_events
from engine.events.cloudevents import decode_event
from engine.events.kafka import to_structured_json
from engine.events.repeated_members import find_repeated_name
from tests.engine.events.one_event import ARRIVED, SPAN, decoded, envelope, refusal

MEMBERS = b'"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u"'
DOUBLED = {
    "subject": (b'{%b,"subject":"v"}', "subject"),
    "subject, the same": (b'{%b,"subject":"u"}', "subject"),
    "id": (b'{"id":"0",%b}', "id"),
    "source": (b'{%b,"source":"s2"}', "source"),
    "type": (b'{"type":"t2",%b}', "type"),
    "specversion": (b'{%b,"specversion":"1.0"}', "specversion"),
    "time": (b'{%b,"time":"2026-11-23T09:30:00Z","time":"2026-11-23T09:30:01Z"}', "time"),
    "time, null first": (b'{%b,"time":null,"time":"2026-11-23T09:30:01Z"}', "time"),
    "time, null last": (b'{%b,"time":"2026-11-23T09:30:01Z","time":null}', "time"),
    "data": (b'{%b,"data":{"v":1},"data":{"v":2}}', "data"),
    "data, a number first": (b'{%b,"data":1,"data":{}}', "data"),
    "data in base64": (b'{%b,"data_base64":"e30=","data_base64":"e30="}', "data_base64"),
    "datacontenttype": (
        b'{%b,"datacontenttype":"text/plain","datacontenttype":"application/json"}',
        "datacontenttype",
    ),
    "dataschema": (b'{%b,"dataschema":"urn:a","dataschema":"urn:b"}', "dataschema"),
    "an extension": (b'{%b,"ext":1,"ext":2}', "ext"),
    "an extension, null": (b'{%b,"ext":null,"ext":null}', "ext"),
    "beside an extension": (b'{%b,"ext":1,"subject":"v"}', "subject"),
    "written in codes": (b'{%b,"\\u0073ubject":"v"}', "subject"),
    "among spaces": (b'{ %b , "subject" : "v" , "data" : { "a" : "\\"" } }', "subject"),
    "beside what is escaped": (b'{%b,"ext":"\\u0022\\u0022\\u0022\\u0022","ext":"\\"\\""}', "ext"),
    "three times": (b'{%b,"subject":"v","subject":"w"}', "subject"),
}
SINGLE = {
    "plain": b"{%b}",
    "null": b'{%b,"time":null,"data":null,"datacontenttype":null,"ext":null}',
    "time null": b'{%b,"time":null}',
    "data that has members twice": b'{%b,"data":{"v":1,"v":2,"subject":"a","subject":"b","in":{"a":1,"a":2}}}',
    "data with quotation marks": b'{%b,"data":{"v":"\\"\\u0022","\\"":1}}',
    "an extension with quotation marks": b'{%b,"ext":"\\"subject\\":\\"v\\""}',
    "names of attributes in texts": b'{%b,"ext":"subject","data":{"subject":"subject"}}',
    "in base64": b'{%b,"data_base64":"eyJ2IjoxLCJ2IjoyfQ=="}',
}


def at_once(values: list[bytes]) -> tuple[int, list[tuple[int, str, str | None]]]:
    """Decode a batch. Return the number of its events, and the refusals."""
    count = len(values)
    found = decode_events(values, [ARRIVED] * count, [0] * count, range(count), SPAN)
    return len(found.indexes), [(at, str(error), error.field) for at, error in found.refused]


@pytest.mark.parametrize(("form", "name"), DOUBLED.values(), ids=DOUBLED)
def test_an_event_that_has_an_attribute_twice_is_refused(form: bytes, name: str) -> None:
    value = form % MEMBERS

    assert refusal(value) == (f"{name} appears twice", name)
    assert at_once([value]) == (0, [(0, f"{name} appears twice", name)])
    with pytest.raises(InvalidEvent, match="appears twice"):  # as by the consumer of a topic
        decode_event(to_structured_json(value, []), ARRIVED, 0, 7, SPAN)


@pytest.mark.parametrize("form", SINGLE.values(), ids=SINGLE)
def test_an_event_that_has_each_attribute_once_is_taken(form: bytes) -> None:
    assert decoded(form % MEMBERS).subject == "u"
    assert at_once([form % MEMBERS]) == (1, [])


def test_the_doubled_ones_of_a_block_are_found_among_all_others() -> None:
    values = [form % MEMBERS for form in SINGLE.values()] * 40
    indexes = range(3, len(values), 11)
    forms = list(DOUBLED.values())
    wanted = []
    for at, place in enumerate(indexes):
        form, name = forms[at % len(forms)]
        values.insert(place, form % MEMBERS)
        wanted.append((place, f"{name} appears twice", name))

    assert at_once(values) == (len(SINGLE) * 40, wanted)


@pytest.mark.parametrize("levels", [400, 499])
def test_a_doubled_attribute_beside_deep_data_is_named(levels: int) -> None:
    deep = b'{"a":' * levels + b"1" + b"}" * levels

    assert refusal(envelope(deep)[:-1] + b',"subject":"v"}') == ("subject appears twice", "subject")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":{"b":1,"b":1}}', "b"),
        (b'[{"a":1},{"a":1,"b":[{"c":"\\u0022\\u0022","c":2}]}]', "c"),
        (b'{"a":"\\u0022\\u0022\\u0022\\u0022","b":"x","b":"y"}', "b"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a":123456789012345678901234567890,"a":1e999999}', "a"),
        (b'{"a":1,"b":{"a":2}}', None),
        (b'{"a":"{","b":"}\\\\","c":"\\",","a":2}', "a"),
        (b'{"a" \t\r\n:1,"a"\n:2}', "a"),
        (b'[{"a":1},{"a":2}]', None),
        (b'{"a":' * 900 + b"1" + b"}" * 900, None),
        (b'{"a":' * 900 + b'{"b":1,"b":2}' + b"}" * 900, "b"),
        (b'{"a":"\\u0022","b":"\\"\\"","\\"":1}', None),
        (b'["a","a"]', None),
        (b"1", None),
    ],
)
def test_a_member_of_a_body_that_is_there_twice_is_found_at_any_depth(text: bytes, name: str | None) -> None:
    parsed = orjson.loads(text.replace(b"1e999999", b"1"))

    assert find_repeated_name(text, parsed) == name
