"""Hears that something was appended: a hint beside polling, which alone is relied on."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from rat_fsm.stores.postgres.line import Line, when_forked

if TYPE_CHECKING:
    from rat_fsm.stores.postgres.address import Address
    from rat_fsm.stores.postgres.session import Session

FIRST_BACKOFF: Final = 1.0
MAX_BACKOFF: Final = 30.0
TIMEOUT: Final = 5.0


class Ear:
    """Counts what it hears, on a thread and a connection of its own once somebody waits."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.closed = False
        self.count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends: tuple[socket.socket, ...] = ()
        when_forked(self)

    def heard(self) -> None:
        """Something may have been appended, or the store was closed."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self, count: int, timeout: float) -> None:
        """Waits until more was heard than a count."""
        with self._changed:
            if self._thread is None and not self.closed:
                self._start()
            self._changed.wait_for(lambda: self.count != count or self.closed, timeout)

    def _start(self) -> None:
        ends = socket.socketpair()
        thread = threading.Thread(
            target=_listen,
            args=(weakref.ref(self), self.address, ends[1]),
            name="rat-fsm-ear",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # there are too many
            for end in ends:
                end.close()
            raise
        self._thread, self._ends = thread, ends

    def close(self) -> None:
        """Ends the thread and every wait."""
        with self._changed:
            self.closed = True
            self.count += 1
            self._changed.notify_all()
        if self._thread is not None:
            self._ends[0].close()
            self._thread.join()
            self._ends[1].close()

    def forked(self) -> None:
        """In a forked child there is no thread."""
        self._changed = threading.Condition()
        self._thread = None
        for end in self._ends:
            end.close()


def _listen(reference: weakref.ref[Ear], address: Address, end: socket.socket) -> None:
    """Listens until the other end of a socket is closed, or nobody has it any more."""
    listen = sql.SQL("LISTEN {}").format(sql.Identifier(address.schema))
    with contextlib.closing(Line(address, TIMEOUT)) as line:
        patience, backoff = 0.0, FIRST_BACKOFF
        while not _readable(end, timeout=patience):
            try:
                with line.connected() as connection:
                    if connection.pooled:
                        return  # what a pooler hands on to us need not be ours
                    connection.execute(listen)
                    backoff = FIRST_BACKOFF
                    _tell(reference, connection, end)
            except (psycopg.Error, TimeoutError):
                # Those who wait poll, and are told by the store what is wrong. A standby, for
                # one, lets nobody listen.
                patience, backoff = backoff, min(MAX_BACKOFF, 2 * backoff)


def _tell(reference: weakref.ref[Ear], connection: Session, end: socket.socket) -> None:
    while end not in _readable(connection, end):
        for _ in connection.notifies(timeout=0):
            ear = reference()
            if ear is not None:
                ear.heard()
            del ear


def _readable(*things: Any, timeout: float | None = None) -> list[Any]:
    """Those of some connections that have something to read; `select` has a limit of 1024."""
    with selectors.DefaultSelector() as selector:
        for thing in things:
            selector.register(thing, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]
