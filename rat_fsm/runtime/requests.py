"""Requests to drain: an operator records one in the log, and the servers that write it follow.

The log is what an operator and every worker of a server share, so it carries the request: no
port to open, no pid to know. An operator writes under a slot of its own, and whoever follows
reads the frames of that slot only, which are few however much the servers write.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, cast

from rat_fsm.codec import decode
from rat_fsm.errors import (
    DamagedFrame,
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    UnsupportedFormat,
    WriterBusy,
)
from rat_fsm.events import DrainRequested
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log.eventlog import EventLog
from rat_fsm.projections.model import ReadModel
from rat_fsm.runtime.escaping import escape
from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rat_fsm.events import Position
    from rat_fsm.stores.port import Store, StoredFrame

OPERATOR: Final = "operator"
MAX_ACTOR: Final = 256
POLL: Final = 0.5
MAX_BACKOFF: Final = 8.0
BUSY_PATIENCE: Final = 5.0
BUSY_RETRY: Final = 0.05
FLUSH_TIMEOUT: Final = 10.0
_log = logging.getLogger("rat_fsm")


class DrainRequests:
    """Follows the requests to drain that operators record in a log.

    One daemon thread looks twice a second. It holds neither the log nor this object: keep this
    one as long as requests are to be followed. It ends at `stop`, and when the log is closed. A
    store that cannot be read is asked again and again, ever more slowly.

    Args:
        log: the log; one in memory is nobody else's, so nothing is followed there.
        on_request: called on that thread with the actor, once for each request recorded after
            `start`; one that raises is logged.
    """

    def __init__(self, log: EventLog, on_request: Callable[[str], object]) -> None:
        self._log = weakref.ref(log)
        self._on_request = on_request
        self._follower: _Follower | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether requests are followed now; never in a forked child, until it starts again."""
        return self._follower is not None and self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Follows what is recorded from now on; a request from before is not obeyed. Idempotent."""
        log = self._log()
        if log is None or log.durability == "memory" or self.running:
            return
        self._follower = _Follower(self._log, self._on_request)
        if not self._follower.look():
            return
        self._thread = threading.Thread(
            target=_follow,
            args=(weakref.ref(self._follower), self._follower.stopping),
            name="rat-fsm-requests",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Calls nobody any more, except that a callback which runs already is not waited for."""
        # A forked child must leave the parent's event alone: its lock may have been held.
        if self.running and self._follower is not None:
            self._follower.stopping.set()
        self._follower = None


def _follow(reference: weakref.ref[_Follower], stopping: threading.Event) -> None:
    """The thread; between two looks it keeps nothing alive."""
    patience = POLL
    while not stopping.wait(patience):
        follower = reference()
        if follower is None or not follower.look():
            return
        patience = follower.patience
        del follower


class _Follower:
    """How far one `start` has read.

    Attributes:
        stopping: set by `stop`.
        patience: seconds until the next look.
    """

    def __init__(self, log: weakref.ref[EventLog], on_request: Callable[[str], object]) -> None:
        self.stopping = threading.Event()
        self.patience = POLL
        self._log = log
        self._on_request = on_request
        self._seen: int | None = None
        self._failing = False

    def look(self) -> bool:
        """Obeys what is new, at the first time nothing; False where there is no log any more."""
        log = self._log()
        if log is None or log.health.status == "closed":
            return False
        try:
            self._read(log.store)
        except LogClosed:
            return False
        except Exception as problem:  # noqa: BLE001 - whatever a store raises, ask it again
            self._note(problem)
        else:
            self._note(None)
        return True

    def _read(self, store: Store) -> None:
        if self._seen is None:
            head = store.head(OPERATOR)
            self._seen = 0 if head is None else head.position
            return
        try:
            for stored in store.read(self._seen, OPERATOR):
                self._seen = stored.position
                self._obey(stored)
        except DamagedFrame as problem:
            if problem.position is None or problem.position <= self._seen:
                raise
            self._seen = problem.position  # what stands there is lost; reading may go on after it
            _log.error("a request to drain cannot be read: %s", problem)

    def _obey(self, stored: StoredFrame) -> None:
        for actor in _actors(stored):
            if not self.stopping.is_set():
                _log.info("%s asks for a drain", actor)
                self._call(actor)

    def _call(self, actor: str) -> None:
        try:
            self._on_request(actor)
        except BaseException:  # noqa: BLE001 - the next request must find this thread alive
            _log.exception("what follows a request to drain failed")

    def _note(self, problem: Exception | None) -> None:
        if problem is not None and not self._failing:
            _log.warning("requests to drain cannot be read now, which is retried: %s", problem)
        if problem is None and self._failing:
            _log.warning("requests to drain can be read again")
        self._failing = problem is not None
        self.patience = min(MAX_BACKOFF, 2 * self.patience) if self._failing else POLL


def _actors(stored: StoredFrame) -> list[str]:
    """Who asks in a frame; nobody where it cannot be read."""
    try:
        events = decode(stored, ReadModel((CONNECTION, NODE))).recorded()
        return [_bounded(r.event.actor) for r in events if isinstance(r.event, DrainRequested)]
    except (DamagedFrame, UnsupportedFormat) as problem:
        _log.error("a request to drain cannot be read: %s", problem)
        return []


def actor_name(actor: str) -> str:
    """The name under which an actor is recorded: harmless on a screen, and not long.

    Raises:
        InvalidArgument: it is empty.
        InvalidArgumentType: it is no string.
    """
    if not isinstance(actor, str):
        raise InvalidArgumentType(f"actor must be a string, not {type(actor).__name__}")
    if not actor:
        raise InvalidArgument("actor must say who asks, not be empty")
    return _bounded(actor)


def _bounded(actor: str) -> str:
    name = escape(actor[: MAX_ACTOR + 1])
    return name if len(name) <= MAX_ACTOR else f"{name[: MAX_ACTOR - 1]}…"


def request_drain(url: str | Path, actor: str) -> Position:
    """Asks every writer of the log at a URL to drain; answers once the request is durable.

    Opening the log for that ends what dead writers left, as every opening does.

    Args:
        url: where the log is; it must be there already.
        actor: who asks.

    Raises:
        InvalidArgument: the log is in memory, or ``actor`` is empty.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: there is no log that can be opened.
        WriterBusy: other requests were being written all the time.
        LogUnavailable, FlushTimeout: the store does not take it.
    """
    event = DrainRequested(actor_name(actor))
    if url == "memory:":
        raise InvalidArgument("the servers of a memory: log cannot be asked from outside")
    open_store(url).close()  # so that a mistyped path makes no log
    log = open_as_operator(url)
    try:
        log.append_request(event)
        return cast("Position", log.flush(FLUSH_TIMEOUT))  # that of this event at least
    finally:
        log.close()


def open_as_operator(url: str | Path) -> EventLog:
    """Opens a log under the operator's slot, waiting a little while another operator has it.

    Raises:
        WriterBusy: the other one takes too long.
    """
    deadline = time.monotonic() + BUSY_PATIENCE
    while True:
        try:
            return EventLog.open(url, writer=OPERATOR)
        except WriterBusy as problem:
            if time.monotonic() >= deadline:
                raise WriterBusy(
                    f"somebody else has been writing a request for {BUSY_PATIENCE:g} s; try again"
                ) from problem
        time.sleep(BUSY_RETRY)
