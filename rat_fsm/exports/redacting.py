"""What of an event need not leave the house."""

from __future__ import annotations

from typing import Any

import attrs

from rat_fsm.events import CallbackFailed, ErrorRecorded, Registered, UnknownEvent


def without_personal_data(event: Any) -> Any:
    """An event without addresses, metadata, and what errors said.

    An event that this process does not know loses all its data. Ids, kinds, routes and reasons
    stay: they hold nothing personal unless the application has put it there.
    """
    match event:
        case Registered():
            return attrs.evolve(event, remote_addr="", metadata={})
        case ErrorRecorded():
            return attrs.evolve(event, message="")
        case CallbackFailed():
            return attrs.evolve(event, error="")
        case UnknownEvent():
            return attrs.evolve(event, data={})
    return event
