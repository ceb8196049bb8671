"""A connection that is made when it is needed, never waits for ever, and survives its failures."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rat_fsm.stores.postgres.address import Address

V = TypeVar("V")
_BEGIN: Final = """
SELECT set_config('statement_timeout', %s, false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                  ELSE current_setting('synchronous_commit') END, false)
"""


class Bounded(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which nobody waits for longer than a number of seconds without a byte.

    A server that is stopped or out of reach still has its connections: only a limit of ours ends
    such a wait.
    """

    seconds: float = 5.0

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **kwargs: Any) -> V:
        """Drives a statement to its end, or raises TimeoutError."""
        return super().wait(_bounded(gen, self.seconds), *args, **kwargs)


def _bounded(gen: Generator[Any, Any, V], seconds: float) -> Generator[Any, Any, V]:
    """The same, but an error after a silence; psycopg resumes it ten times a second."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                deadline = time.monotonic() + seconds
            elif time.monotonic() > deadline:
                raise TimeoutError(f"the server has not answered in {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        value: V = end.value
        return value


class Line:
    """One connection, for any thread, one statement at a time.

    Args:
        address: of the log.
        seconds: how long to wait for a server that is silent.
        statement: how long a statement may take on the server; by default a little less, so that
            one that waits for a lock ends there, in order.
    """

    def __init__(self, address: Address, seconds: float, *, statement: float | None = None) -> None:
        self.lock = threading.RLock()
        self._address = address
        self._seconds = seconds
        self._statement = 0.9 * seconds if statement is None else statement
        self._connection: Bounded | None = None
        self._lasting = True
        when_forked(self)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Bounded]:
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
            except TimeoutError:
                self.drop()
                raise
            finally:
                if connection.closed or not self._lasting:
                    self.drop()

    def _connect(self) -> Bounded:
        connection = Bounded.connect(autocommit=True, **self._address.parameters)
        connection.seconds = self._seconds
        try:
            connection.execute(_BEGIN, (str(int(1000 * self._statement)),))
        except BaseException:
            connection.close()
            raise
        return connection

    def fetch(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement answers with; ``{schema}`` in it is the log's."""
        filled = statement.replace("{schema}", self._address.quoted.replace("%", "%%"))
        with self.connected() as connection:
            return connection.execute(filled.encode(), values, binary=True).fetchall()

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
