"""Generated texts, most of them almost JSON: broken events, and data of any form."""

import json

from hypothesis import strategies as st

from tests.engine.events.one_event import envelope

TOKENS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b'"',
            b"\\",
            b" ",
            b"\n",
            b"null",
            b"true",
            b"1",
            b"-0",
            b"1e400",
            b"NaN",
        ),
        *(b'"id"', b'"source"', b'"type"', b'"subject"', b'"time"', b'"data"', b'"specversion"', b'"1.0"', b'"ext"'),
        *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc3", b"\\u", b"\\ud800", b'"\\udc00"', b"\0", b"\x7f", b"{}"),
    ]
)
BROKEN = st.builds(
    lambda value, at, width, junk: value[: at % len(value)] + junk + value[at % len(value) + width :],
    st.sampled_from([envelope(b'{"v":[1,{"w":"x"}]}', time="2025-12-24T10:00:00.5+01:00", ext="y"), envelope(b"{}")]),
    st.integers(0, 500),
    st.integers(0, 3),
    st.one_of(TOKENS, st.binary(max_size=4)),
)

_TEXTS = st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
_SCALARS = st.one_of(
    st.sampled_from(
        [b"0", b"-0", b"-0.0", b"1e400", b"-1e309", b"1e308", b"1e-400", b"1e+05", b"01", b"1.", b".5", b"--1"]
    )
    | st.sampled_from([b"null", b"nul", b"true", b"NaN", b"Infinity", b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\\ud83d"'])
    | st.sampled_from(
        [b'"\\udc00"', b'"\\x"', b'"\x01"', b'"\x7f"', b'"\xff"', b'"\xf4\x90\x80\x80"', b"", b"'a'", b"\xc2\xa01"]
    ),
    st.integers(0, 420).map(lambda digits: b"9" * digits + b"1"),
    st.integers(0, 420).map(lambda digits: b"0." + b"0" * digits + b"1"),
    st.integers(0, 340).map(lambda digits: b"9" * digits + b".5e-300"),
    st.floats().map(lambda number: json.dumps(number).encode()),
    _TEXTS,
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: b"[" + b",".join(items) + b"]")
        | st.lists(st.tuples(_TEXTS, inner), max_size=3).map(
            lambda pairs: b"{" + b" , ".join(key + b":" + value for key, value in pairs) + b"}"
        )
        | st.tuples(st.integers(1, 520), inner).map(lambda deep: b"[" * deep[0] + deep[1] + b"]" * deep[0])
    ),
    max_leaves=6,
)
_SPACE = st.sampled_from([b"", b" ", b"\t", b"\r\n", b"\x0b", b"\x0c", b"\xc2\xa0", b"\xef\xbb\xbf", b"\0"])
PROBED = st.builds(
    lambda key, value, space, first: (
        b'{"probe":"found",' + space + key + b":" + value + space + b"}"
        if first
        else b"{" + key + space + b":" + value + b"," + space + b'"probe":"found"}'
    ),
    _TEXTS.filter(lambda key: key != b'"probe"'),
    VALUES,
    st.just(b"") | _SPACE,
    st.booleans(),
)
