"""What belongs to open connections beside their events: objects, callbacks, healthy checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.runtime import references
from rat_fsm.runtime.callbacks import Callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.runtime.callbacks import Callback
    from rat_fsm.runtime.clock import Clock


class Belongings:
    """Kept by connection id while a connection is open, and let go when it has ended.

    Attributes:
        held: connection id → what `references.hold` made. Subclasses of the manager may set
            entries before they register; what was accepted is remembered apart from that.
    """

    def __init__(self, clock: Clock, on_callback_failure: Callable[[str, str], None]) -> None:
        self.held: dict[str, Any] = {}
        self._accepted: dict[str, Any] = {}
        self._healthy_at: dict[str, int] = {}
        self._callbacks = Callbacks(clock, on_callback_failure)

    def adopt(self, connection_id: str, reference: Any, manager: object) -> None:
        """Holds the object of a connection that was let in; None never overwrites."""
        if reference is not None:
            self.held[connection_id] = references.hold(reference)
        held = self.held.get(connection_id)
        if held is None:
            return
        self._accepted[connection_id] = held
        bind = getattr(references.resolve(held), "bind_connection", None)
        if bind is not None:
            bind(manager, connection_id)

    def restore(self, connection_id: str) -> None:
        """After a refusal: the object of the accepted connection with this id, if any, stays."""
        accepted = self._accepted.get(connection_id)
        if accepted is None:
            self.held.pop(connection_id, None)
        else:
            self.held[connection_id] = accepted

    def end_with(self, connection_id: str, stream: Any) -> None:
        """Closes a stream that knows connections when this one ends, unless it has an object."""
        if hasattr(stream, "bind_connection") and connection_id not in self.held:
            self.held[connection_id] = self._accepted[connection_id] = references.hold(stream)

    def reference(self, connection_id: str) -> Any:
        """The object behind a connection, None where there is none (any more)."""
        return references.resolve(self.held.get(connection_id))

    def finish(self, connection_id: str, reason: str, ended_by: str) -> None:
        """Tells an object that is being served to end, and why if it wants to know."""
        reference = self.reference(connection_id)
        finish = getattr(reference, "finish", None)
        if finish is None:
            references.close(reference)
        else:
            finish(reason, ended_by)

    def is_gone(self, connection_id: str) -> bool:
        """Whether the object was held weakly and has been collected."""
        return references.is_gone(self.held.get(connection_id))

    def check(self, callback: Any) -> Callback:
        """What to call for a callback; see `Callbacks.check`."""
        return self._callbacks.check(callback)

    def call_when_ended(self, connection_id: str, callback: Callback) -> None:
        """Adds a checked callback."""
        self._callbacks.add(connection_id, callback)

    def forget_callbacks(self, connection_id: str) -> None:
        """Calls nothing when this connection ends."""
        self._callbacks.forget(connection_id)

    def found_healthy(self, connection_id: str, at: int) -> None:
        """A check at this time (microseconds) found the connection working."""
        self._healthy_at[connection_id] = at

    def healthy_at(self, connection_id: str) -> int:
        """When a check last found the connection working, 0 if none has."""
        return self._healthy_at.get(connection_id, 0)

    def let_go(self, connection_id: str) -> None:
        """The connection has ended: closes an object bound to it and runs its callbacks."""
        reference = self.reference(connection_id)
        self._healthy_at.pop(connection_id, None)
        self._accepted.pop(connection_id, None)
        self.held.pop(connection_id, None)
        if hasattr(reference, "bind_connection"):
            reference.unbind_connection()
            references.close(reference)
        self._callbacks.run(connection_id)

    def ids(self) -> set[str]:
        """The connections that anything belongs to."""
        return {*self.held, *self._healthy_at, *self._callbacks.ids()}
