"""One session with a server: nobody waits in it for ever, and it promises what it should."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg

from rat_fsm.stores.postgres.guarantee import guarantee_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from rat_fsm.stores.postgres.address import Address

V = TypeVar("V")
# A pooler tells its client a process number of its own invention. What is set there for longer
# than a transaction would be lost to us, and found by whoever gets the server's session next.
# A client that is stopped, or of which the end of a message is lost, must not keep its locks: the
# limits end its transaction (`transaction_timeout` is PostgreSQL 17's), keepalives its connection.
_SET: Final = """
SELECT pooled, current_setting('fsync'), current_setting('synchronous_standby_names'),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                  ELSE current_setting('synchronous_commit') END, pooled),
       set_config('statement_timeout', %(timeout)s, pooled),
       set_config('idle_in_transaction_session_timeout', %(timeout)s, pooled),
       CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL
            THEN set_config('transaction_timeout', %(whole)s, pooled) END,
       set_config('tcp_keepalives_idle', '10', pooled),
       set_config('tcp_keepalives_interval', '5', pooled),
       set_config('tcp_keepalives_count', '2', pooled),
       set_config('default_transaction_isolation', 'read committed', pooled)
FROM (SELECT pg_backend_pid() <> %(pid)s AS pooled) AS told
"""


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which nobody waits for longer than a number of seconds without a byte.

    A server that is stopped or out of reach still has its connections: only a limit of ours ends
    such a wait.

    Attributes:
        seconds: that number.
        statement: for how long a statement may run on the server, seconds.
        pooled: whether a pooler stands between, which may serve others by the same session.
        guarantee: what the server's acknowledgement of a commit is worth.
    """

    seconds: float = 5.0
    statement: float = 5.0
    pooled: bool = False
    guarantee: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsure: list[str] = []
        self.add_notice_handler(functools.partial(_note, self._unsure))

    @classmethod
    def begin(cls, address: Address, seconds: float, statement: float) -> Self:
        """Connects, and sets what has to hold for every statement.

        Raises:
            psycopg.Error, TimeoutError: it cannot be.
        """
        session = cls.connect(autocommit=True, **address.parameters)
        session.seconds, session.statement = seconds, statement
        session.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        try:
            session.configure()
        except BaseException:
            session.close()
            raise
        if session.pooled:
            session.prepare_threshold = None  # the next transaction may be in another session
        return session

    def configure(self) -> None:
        """For the session; behind a pooler for the transaction that runs, if one does."""
        limit = int(1000 * self.statement)
        values = {"pid": self.info.backend_pid, "timeout": str(limit), "whole": str(2 * limit)}
        ((self.pooled, fsync, standbys, commit, *_),) = self.execute(_SET, values).fetchall()
        self.guarantee = guarantee_of(fsync, commit, standbys)

    def rows(self, statement: bytes, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """What a statement answers with, in a transaction of its own.

        Raises:
            psycopg.Error: it failed, or somebody ended its wait for a standby.
            TimeoutError: the server was silent.
        """
        self._unsure.clear()
        with self.transaction() if self.pooled else contextlib.nullcontext():
            if self.pooled:
                self.configure()
            rows = self.execute(statement, values, binary=True).fetchall()
        if self._unsure:
            raise psycopg.OperationalError(self._unsure[-1])
        return rows

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **kwargs: Any) -> V:
        """Drives a statement to its end, or closes the connection and raises TimeoutError."""
        try:
            return super().wait(_bounded(gen, self.seconds), *args, **kwargs)
        except TimeoutError:
            self.close()  # first of all: a transaction would be rolled back, and wait as long
            raise


def _note(unsure: list[str], diagnostic: psycopg.errors.Diagnostic) -> None:
    """A commit whose wait for a standby somebody ends succeeds, with a warning in any language."""
    if diagnostic.source_function == "SyncRepWaitForLSN":
        unsure.append(diagnostic.message_primary or "")


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
