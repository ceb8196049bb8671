"""An event's payload as plain values, whatever stood in the log."""

from __future__ import annotations

from typing import Any

import msgspec

from rat_fsm.events import UnknownEvent

_encode = msgspec.json.Encoder().encode


def payload_of(event: Any) -> dict[str, Any]:
    """Its fields as plain values."""
    return dict(event.data if isinstance(event, UnknownEvent) else msgspec.to_builtins(event))


def payload_json(event: Any) -> str:
    """Its fields as compact JSON."""
    return _encode(event.data if isinstance(event, UnknownEvent) else event).decode()
