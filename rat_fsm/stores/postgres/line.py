"""A connection that is made when it is needed, never waits for ever, and survives its failures."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg

from rat_fsm.stores.postgres.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.postgres.address import Address


class Line:
    """One connection, for any thread, one statement at a time.

    Args:
        address: of the log.
        seconds: how long to wait for a server that is silent.
        statement: how long a statement may take on the server; by default a little less, so that
            one that waits for a lock ends there, in order.

    Attributes:
        guarantee: what the server that it was connected to last promises, empty before there was
            one.
    """

    def __init__(self, address: Address, seconds: float, *, statement: float | None = None) -> None:
        self.lock = threading.RLock()
        self.guarantee = ""
        self._address = address
        self._seconds = seconds
        self._statement = 0.9 * seconds if statement is None else statement
        self._connection: Session | None = None
        self._lasting = True
        when_forked(self)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Session]:
        """The connection, made where there is none; one that broke is dropped afterwards.

        Raises:
            psycopg.Error, TimeoutError: it cannot be made, or what was done with it failed.
        """
        with self.lock:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            try:
                yield connection
            finally:
                if connection.closed or not self._lasting:
                    self.drop()

    def _connect(self) -> Session:
        session = Session.begin(self._address, self._seconds, self._statement)
        self.guarantee = session.guarantee
        return session

    def fetch(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement answers with; ``{schema}`` in it is the log's."""
        filled = statement.replace("{schema}", self._address.quoted.replace("%", "%%"))
        with self.connected() as connection:
            return connection.rows(filled.encode(), values)

    def ask(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Like `fetch`, for what may be repeated: tried again where the connection had died."""
        with self.lock:
            old = self._connection
            try:
                return self.fetch(statement, **values)
            except psycopg.OperationalError as problem:
                if old is None or not old.closed:
                    raise
                said = problem
            try:
                return self.fetch(statement, **values)
            except psycopg.OperationalError as problem:
                # What a server said when it went, such as of a full disk, is more than it is away.
                raise (said if said.sqlstate else problem) from None

    def drop(self) -> None:
        """Closes the connection; the next statement makes another."""
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Like `drop`; from now on a connection lasts for one statement."""
        with self.lock:
            self._lasting = False
            self.drop()

    def forked(self) -> None:
        """In a forked child: lets go of the parent's connection without a word to the server."""
        self.lock = threading.RLock()
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            # Closing says goodbye on the socket that the parent goes on using.
            with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123 - no path of ours
                os.dup2(nothing.fileno(), connection.fileno())
            connection.close()


class Forks(Protocol):
    """Something that a forked child must not share with its parent."""

    def forked(self) -> None:
        """Called in the child."""


_all: Final[dict[int, weakref.ref[Forks]]] = {}


def when_forked(thing: Forks) -> None:
    """Has a thing told, in the child, that there was a fork."""
    key = id(thing)
    _all[key] = weakref.ref(thing, lambda _thing: _all.pop(key, None))


def _in_child() -> None:
    for reference in list(_all.values()):
        thing = reference()
        if thing is not None:
            thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
