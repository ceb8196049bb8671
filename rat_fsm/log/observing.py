"""Lets somebody see every frame that this process writes, such as a test session that counts.

A subscription follows one log that is known; this is for who knows none of the logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Frame

    Look = Callable[[Frame], None]

_observers: Final[list[Observer]] = []


class Observer(Protocol):
    """Somebody who sees frames; must not raise, for that would end the log."""

    def begin(self, writer: str, model: ReadModel) -> Look:
        """A writer begins to write, or goes on: its streams stand where ``model`` says.

        What this answers with is called on the committing thread with each frame once it is
        durable.
        """


def observe(observer: Observer) -> None:
    """Shows an observer every frame of the logs that this process opens from now on."""
    _observers.append(observer)


def forget(observer: Observer) -> None:
    """Opens no more logs before the eyes of an observer; those that are open it still sees."""
    _observers.remove(observer)


def looks(writer: str, model: ReadModel) -> list[Look]:
    """What to call with each frame of a writer that begins."""
    return [observer.begin(writer, model) for observer in _observers]
