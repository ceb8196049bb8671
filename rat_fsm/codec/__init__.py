"""Events to frame bytes and back: schema versions, upcasting, limits and the hash chain.

A frame's body is JSON that plain SQL can read::

    {"types":   [[tag, version, [field, …]], …],
     "streams": [[lifecycle, id, born, base version], …],
     "events":  [[time offset µs, stream, type, payload …], …]}

``born`` is the sequence number of the stream's first event in the same writer; the base version
is how many events the stream had before this frame.
"""

from __future__ import annotations

from rat_fsm.codec.decoding import Body, Decoded, Reader, decode, no_collection, open_body
from rat_fsm.codec.encoding import (
    MAX_EVENT,
    MAX_INTEGER,
    WIDTH,
    Rows,
    definitions,
    each,
    encode_body,
    encode_recorded,
    event_of,
    payload_of,
    split,
)
from rat_fsm.codec.frames import (
    ALGORITHM,
    FORMAT,
    MAX_BODY,
    MAX_DEPTH,
    MAX_EVENTS,
    check_frame,
    hash_of,
    seal,
    too_deep,
)
from rat_fsm.codec.judging import add_states, judged_by

__all__ = [
    "ALGORITHM",
    "FORMAT",
    "MAX_BODY",
    "MAX_DEPTH",
    "MAX_EVENT",
    "MAX_EVENTS",
    "MAX_INTEGER",
    "WIDTH",
    "Body",
    "Decoded",
    "Reader",
    "Rows",
    "add_states",
    "check_frame",
    "decode",
    "definitions",
    "each",
    "encode_body",
    "encode_recorded",
    "event_of",
    "hash_of",
    "judged_by",
    "no_collection",
    "open_body",
    "payload_of",
    "seal",
    "split",
    "too_deep",
]
