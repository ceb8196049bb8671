"""The records that a model holds, before any event."""

from __future__ import annotations

from typing import Any

import pytest

from rat_fsm.projections.record import (
    ConnectionRecord,
    NodeRecord,
    ObservedRecord,
    StreamRecord,
    copy_record,
    dump_record,
    load_record,
)

STREAM = {"id": "a", "writer": "w0", "state": "new", "born": 0, "version": 0}
CONNECTION = {
    "remote_addr": "",
    "kind": "",
    "route": "",
    "activated": False,
    "metadata": None,
    "created_at": 0,
    "last_activity": 0,
    "bytes_sent": 0,
    "messages_sent": 0,
    "errors": 0,
    "retries": 0,
    "total_retries": 0,
    "continues": "",
    "delay": None,
    "reason": None,
    "stalled": False,
}
NODE = {
    "limits": {},
    "drain_started": 0,
    "drain_deadline": 0.0,
    "drain_open": 0,
    "drain_requested_by": "",
}


@pytest.mark.parametrize(
    ("cls", "lifecycle", "values"),
    [
        (StreamRecord, "order", {}),
        (ConnectionRecord, "connection", CONNECTION),
        (NodeRecord, "node", NODE),
        (ObservedRecord, "door", {"dest": None}),
    ],
)
def test_a_record_of_nothing(
    cls: type[StreamRecord], lifecycle: str, values: dict[str, Any]
) -> None:
    """It knows whose it is, and of everything else that nothing has happened; a copy likewise."""
    record = cls(lifecycle, "a", "w0", "new")
    expected = {"lifecycle": lifecycle, **STREAM, **values}
    assert dump_record(record) == expected
    assert dump_record(copy_record(record)) == expected
    loaded = load_record(dump_record(record))
    assert (type(loaded), dump_record(loaded), loaded.written) == (cls, expected, 0)
