"""The store for writers on many machines: frames in PostgreSQL.

A function of the database appends a frame in one round trip. Positions are given under a lock
that is held until the commit, so a reader who has seen one has seen all before it. A slot is a
row that its holder renews; each append checks in its transaction that nobody has taken it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg

from rat_fsm.errors import (
    HistoryEvicted,
    LogClosed,
    StoreUnreadable,
    WriterBusy,
    WriterFenced,
)
from rat_fsm.stores.port import Slot, Snapshot, frames_with
from rat_fsm.stores.postgres import migrating
from rat_fsm.stores.postgres import statements as sql
from rat_fsm.stores.postgres.address import parse
from rat_fsm.stores.postgres.ear import Ear
from rat_fsm.stores.postgres.leases import Leases, taken
from rat_fsm.stores.postgres.line import Line
from rat_fsm.stores.postgres.rows import stored_in, values_of
from rat_fsm.stores.postgres.witness import Witness, is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import Frame, StoredFrame

WRITE_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 10.0
BATCH_TIMEOUT: Final = 60.0
POLL_INTERVAL: Final = 0.2
BATCH_FRAMES: Final = 16
LAG: Final = 64  # frames that are looked through rather than entered into the index of names
CHUNK: Final = 128
CHAIN_BROKEN, SLOT_LOST = 0, -1
_log = logging.getLogger("rat_fsm")


class PostgresStore:
    """Frames in a schema of a PostgreSQL database; see the port for what the methods promise.

    Args:
        url: ``postgresql://…``, as libpq has it, with ``schema`` and ``lease`` of our own.
        writable: whether to write, and to create the log where there is none.

    Attributes:
        url: where it is, without credentials.
    """

    def __init__(self, url: str, *, writable: bool = False) -> None:
        self._address = parse(url, writable=writable)
        self.url = self._address.shown
        self.writable = writable
        self._closed = False
        self._writing = Line(self._address, WRITE_TIMEOUT)
        self._reading = Line(self._address, READ_TIMEOUT, statement=BATCH_TIMEOUT)
        self._leases = Leases(self._address, WRITE_TIMEOUT)
        self._ear = Ear(self._address)
        self._witness = Witness(self.url)
        self._appended: dict[str, tuple[int, bytes]] = {}
        try:
            with self._saying("open"):
                (migrating.prepare if writable else migrating.check)(self._reading, self._address)
        except BaseException:
            self.close()
            raise

    @property
    def guarantee(self) -> str:
        """What an acknowledged frame survives, as the server ran when it was connected to."""
        return self._writing.guarantee or self._reading.guarantee

    @contextlib.contextmanager
    def _saying(self, attempt: str, kind: type[OSError] = StoreUnreadable) -> Iterator[None]:
        """Turns a driver's error into one of ours, which holds no secret."""
        try:
            yield
        except (psycopg.Error, TimeoutError) as problem:
            raise kind(f"cannot {attempt} {self.url}: {self._address.said(problem)}") from None

    def _ask(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self._saying("read"):
            return self._reading.ask(statement, **values)

    def append(self, frame: Frame) -> int:
        """Adds a frame in a transaction of its own, which renews the slot's lease as well."""
        self._check_open()
        epoch = self._leases.epoch(frame.writer)
        with self._saying("append to", OSError):
            ((position,),) = self._writing.ask(
                sql.APPEND,
                **{**values_of(frame), "epoch": epoch, "lease": self._address.lease},
            )
        if position <= CHAIN_BROKEN:
            why = self._why_refused(frame, position)
            self._leases.lose(frame.writer, why)
            raise WriterFenced(why)
        self._appended[frame.writer] = position, frame.hash
        self._ear.heard()
        return int(position)

    def _why_refused(self, frame: Frame, position: int) -> str:
        head = self.head(frame.writer)
        last = 0 if head is None else head.frame.last
        if frame.first > last + 1:
            return (
                f"{self.url} ends at event {last} of {frame.writer}, and had acknowledged "
                f"{frame.first - 1}: the server has lost them, as one does that was a standby "
                "behind its primary"
            )
        if position == SLOT_LOST:
            return taken(frame.writer)
        return f"the frame does not continue the chain of {frame.writer}"

    def _check_open(self) -> None:
        if self._closed or not self.writable:
            raise LogClosed(f"{self.url} is not open for writing")

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """The frames after a position, in batches, so that no reader holds a long transaction."""
        if writer is None:
            return self._frames(sql.FRAMES, sql.PRUNED, after)
        return self._frames(sql.OWN, sql.OWN_PRUNED, after, writer=writer)

    def naming(self, name: str, after: int = 0) -> Iterator[StoredFrame]:
        """The frames after a position that name something, by an index up to where it reaches."""
        named = self._catch_up()
        yield from self._frames(sql.NAMED, sql.PRUNED, after, name=name, named=named)
        yield from frames_with(name, self.read(max(after, named)))

    def _catch_up(self) -> int:
        """Up to where the names are in the index, which is extended where that is allowed."""
        ((last, named),) = self._ask(sql.REACH)
        while last - named > LAG:
            try:
                ((named,),) = self._reading.ask(sql.CATCH_UP, frames=CHUNK)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
                break  # on a standby, say: what is not in the index is looked through
            except (psycopg.Error, TimeoutError) as problem:
                _log.warning("%s: the index of names stays behind: %s", self.url, problem)
                break
        return int(named)

    def _frames(self, frames: str, pruned: str, after: int, **values: Any) -> Iterator[StoredFrame]:
        statement = sql.BATCH.replace("{frames}", frames).replace("{pruned}", pruned)
        size = 1  # who wants one frame need not wait for others
        while True:
            rows = self._ask(statement, after=after, size=size, **values)
            if rows[0][0] > after:
                raise HistoryEvicted(f"frames up to {rows[0][0]} of {self.url} were pruned")
            if rows[0][1] is None:
                return
            for row in rows:
                stored = stored_in(row[1:])
                if row is rows[-1]:
                    self._witness.saw(stored)
                yield stored
            after, size = rows[-1][1], min(BATCH_FRAMES, 2 * size)

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer."""
        found = map(stored_in, self._ask(sql.HEADS))
        return {stored.frame.writer: stored for stored in found}

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of one writer."""
        line = self._writing if self.writable else self._reading  # no reader delays a commit
        with self._saying("read"):
            rows = line.ask(sql.HEAD, writer=writer)
        return stored_in(rows[0]) if rows else None

    def wait(self, after: int, timeout: float) -> bool:
        """Polls, and looks at once where the server says that something was appended."""
        deadline = time.monotonic() + timeout
        while True:
            count = self._ear.count
            if self._reaches_past(after):
                return True
            if self._closed:
                raise LogClosed(f"{self.url} was closed")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._ear.wait(count, min(left, POLL_INTERVAL))

    def _reaches_past(self, position: int) -> bool:
        ((last, found),) = self._ask(sql.LAST, position=position)
        with self._saying("read"):
            self._witness.check(position, last, found)
        return bool(last > position)

    def claim(self, writer: str | None) -> str:
        """Takes a slot for the time of a lease, and renews it from now on; see the port."""
        self._check_open()
        if writer is not None:
            if not self._take(writer):
                raise WriterBusy(f"writer {writer} of {self.url} is in use by another log")
            return writer
        number = 0
        while not self._take(f"w{number}"):
            number += 1
        return f"w{number}"

    def _take(self, writer: str) -> bool:
        if self._leases.holds(writer) or self._has_lost(writer):
            return False
        with self._saying("claim a writer of"):
            lease = self._address.lease
            ((epoch,),) = self._writing.ask(sql.CLAIM, writer=writer, lease=lease)
        if epoch is not None:
            try:
                self._leases.took(writer, epoch)
            except RuntimeError:
                self.release(writer)
                raise
        return epoch is not None

    def _has_lost(self, writer: str) -> bool:
        """Whether the server lacks what this handle has stored last in a slot.

        The slot is not taken again then: numbers of its would mean two things to this process.
        """
        position, known = self._appended.get(writer, (0, b""))
        if not position:
            return False
        with self._saying("claim a writer of"):
            ((last, found),) = self._writing.ask(sql.LAST, position=position)
        return is_gone(position, known, last, found)

    def holds(self, writer: str) -> bool:
        """Whether a slot that was claimed here is still held, as far as is known."""
        return self._leases.holds(writer)

    def slots(self) -> dict[str, Slot]:
        """Every slot that was ever taken."""
        return {row[0]: Slot(*row) for row in self._ask(sql.SLOTS)}

    def release(self, writer: str) -> None:
        """Gives a slot back; where the server cannot be told, it is free once the lease is over."""
        claim = self._leases.drop(writer)
        if claim is None or claim.lost:
            return
        try:
            self._writing.ask(sql.RELEASE, writer=writer, epoch=claim.epoch)
        except (psycopg.Error, TimeoutError) as problem:
            why = self._address.said(problem)
            _log.warning("%s: %s is free once its lease is over: %s", self.url, writer, why)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of the writer's older one."""
        self._check_open()
        # It may be large, and no commit should wait for it.
        with (
            self._saying("save a snapshot in"),
            contextlib.closing(Line(self._address, BATCH_TIMEOUT)) as line,
        ):
            line.fetch(sql.SAVE, **attrs.asdict(snapshot))

    def load_snapshot(self, writer: str) -> Snapshot | None:
        """The writer's snapshot."""
        rows = self._ask(sql.LOAD, writer=writer)
        return Snapshot(*rows[0]) if rows else None

    def reopen(self) -> None:
        """A new connection for writing; claims stay.

        Returns only once all that the server shows is as durable as it promises: it shows a
        commit that had waited for a standby when the server was restarted. Renewing a slot waits
        for everything before it.
        """
        self._check_open()
        self._writing.drop()
        with self._saying("reopen", OSError):
            self._writing.fetch("SELECT 1")
            self._leases.renew(self._writing)

    def close(self) -> None:
        """Gives every slot back, ends every wait, and lets go of the connections."""
        if self._closed:
            return
        self._closed = True
        for writer in self._leases:
            self.release(writer)
        self._leases.close()
        self._ear.close()
        self._writing.close()
        self._reading.close()
