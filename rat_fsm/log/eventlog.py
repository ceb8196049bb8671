"""The event log: the one place that appends, and the live read model of what was appended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from rat_fsm.core import decide as core_decide
from rat_fsm.errors import (
    FlushTimeout,
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    LogForked,
    StoreUnreadable,
    WrongExpectedVersion,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import process
from rat_fsm.log.accept import Mark
from rat_fsm.log.durability import in_event_loop, wait_on_loop
from rat_fsm.log.health import Health, health_of
from rat_fsm.log.ids import check_id
from rat_fsm.log.opening import Opening
from rat_fsm.log.snapshots import save_snapshot
from rat_fsm.log.subscription import Subscription, read_recorded
from rat_fsm.projections.model import ReadModel
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from rat_fsm.events import Position, Recorded
    from rat_fsm.log.projecting import LiveProjection, P
    from rat_fsm.log.transactions import Decide
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

CLOSE_TIMEOUT: Final = 10.0
_LEVELS: Final = ("batched", "committed")
_log = logging.getLogger("rat_fsm")


class Timekeeper(Protocol):
    """What a log needs of a clock."""

    def now(self) -> int:
        """Microseconds since the epoch."""


class ActivitySource(Protocol):
    """Something that gathers activity and appends it later."""

    def settle(self, connection_id: str, /, *, reserved: bool = False) -> None:
        """Append what is held for one connection now, before an event that may be its end."""


class EventLog:
    """An append-only log of events, for one writer among possibly many in the same store.

    Durability, and what a killed process can lose at each level:

    * ``memory`` (the level of a ``memory:`` store): everything.
    * ``batched`` (the default): what was accepted in the last 10 ms, plus the commit in
      progress, plus the time the store was away; ``health.window`` says how much that is now.
      Nothing that `flush` acknowledged is ever lost.
    * ``committed``: nothing that `append` returned for. On a thread with a running event loop
      `append` never waits, there use `append_async`.

    Close it when done, or use it as a context manager. Opening recovers what dead writers left:
    connections are ended with ``ended_by="crash"``.

    Attributes:
        store: where the frames are.
        clock: where times come from; None is the system's.
        durability: memory, batched or committed.
        read_model: the live read model; equal to ``replay(log)`` once flushed.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        lifecycles: Iterable[Lifecycle] = (CONNECTION, NODE),
        clock: Timekeeper | None = None,
        writer: str | None = None,
        durability: str = "batched",
        spill: str | Path | None = None,
    ) -> None:
        if durability not in _LEVELS:
            raise InvalidArgument(f"durability is {durability!r}; use one of {', '.join(_LEVELS)}")
        if writer is not None:
            check_id(writer, "writer")
        self.store: Store = MemoryStore() if store is None else store
        if not self.store.writable:
            raise StoreUnreadable(f"{self.store.url} was opened for reading only")
        self.clock = clock
        # A thousand nanoseconds a microsecond, divided there: the hot path does without a call.
        self._now, self._tick = (time.time_ns, 1000) if clock is None else (clock.now, 1)
        self.durability = "memory" if isinstance(self.store, MemoryStore) else durability
        self._lifecycles = {lifecycle.name: lifecycle for lifecycle in (*lifecycles, NODE)}
        file = None if spill is None else Path(spill)
        opening = Opening(self.store, self._lifecycles, writer, file, self._now, self._tick)
        self._acceptor, self._committer, self._run = opening.open()
        self.read_model = self._acceptor.model
        self._closed = self._begun = False
        self._closing = threading.RLock()
        self._sources: tuple[weakref.ref[ActivitySource], ...] = ()
        self._projections: tuple[LiveProjection[Any], ...] = ()
        # Bound once: this is the hot path, and a method of our own would double its cost.
        self.record_activity = self._acceptor.record_activity
        self._finalizer = weakref.finalize(self, self._committer.retire)
        self._finalizer.atexit = False
        process.watch(self, self._committer.gate)

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        lifecycles: Iterable[Lifecycle] = (CONNECTION, NODE),
        clock: Timekeeper | None = None,
        writer: str | None = None,
        durability: str = "batched",
        spill: str | Path | None = None,
    ) -> EventLog:
        """Opens the log at a URL for writing, creating it where there is none.

        Args:
            url: where it is; see `rat_fsm.open_store`.
            lifecycles: the machines whose events may be appended; NODE is always among them.
            clock: where times come from; the system's by default.
            writer: the slot to write under; the lowest free of w0, w1 … by default.
            durability: batched or committed, see the class.
            spill: a local file for what the store does not take while it is away, beyond what
                memory holds; what a process left there is delivered when the next one opens it.
                Several processes may name the same: each takes a file of its own beside it.

        Raises:
            InvalidArgument: an unknown scheme or level.
            StoreUnreadable: it cannot be opened, or is something else.
            UnsupportedFormat: a newer rat_fsm wrote it.
            WriterBusy: another log holds the slot.
            DamagedFrame: the writer's chain is broken; see ``rat-fsm verify``.
        """
        store = open_store(url, writable=True)
        try:
            return cls(
                store,
                lifecycles=lifecycles,
                clock=clock,
                writer=writer,
                durability=durability,
                spill=spill,
            )
        except BaseException:
            store.close()
            raise

    @property
    def writer(self) -> str:
        """The slot it writes under, such as ``w0``; another one once that was lost."""
        return self._acceptor.writer

    @property
    def node_id(self) -> str | None:
        """The id of this run's NODE stream, None until `begin`."""
        return self._run.id

    @property
    def url(self) -> str:
        """The store's address."""
        return self.store.url

    @property
    def inside(self) -> bool:
        """Whether this call interrupted another call of this thread inside the log.

        True in a signal handler or finaliser that came at such a moment. What it asks of the
        log may be queued until the interrupted call leaves; it must not wait for it.
        """
        return self._acceptor.inside or self._committer.here

    @property
    def seq(self) -> int:
        """The number of the last event that was accepted in this writer; 0 before the first."""
        return self._acceptor.seq

    @property
    def under_pressure(self) -> bool:
        """Whether the store has fallen so far behind that new things are refused."""
        return self._acceptor.under_pressure

    def begin(
        self, limits: Mapping[str, Any] | None = None, policy: Mapping[str, Any] | None = None
    ) -> None:
        """Records the start of this run, unless that has been done; appending does it first.

        Args:
            limits: what the server allows, such as ``max_connections``.
            policy: how it retries.
        """
        self._acceptor.check_open()
        self._committer.start()
        self._run.begin(limits, policy)
        self._begun = self._committer.running and self.node_id is not None

    def transact_node(self, request: object) -> int | None:
        """Decides a request to the current run of this writer and accepts what follows."""
        return self._transact_node(
            lambda stream, model: core_decide(request, stream, model), reserved=True
        )

    def append_node(self, event: object) -> int | None:
        """Appends one event to the current run of this writer.

        Raises:
            LogUnavailable: the store has fallen too far behind.
        """
        return self._transact_node(lambda _stream, _model: (event,), reserved=False)

    def append_request(self, event: object) -> int | None:
        """Appends what an operator asks of the writers of this log, without starting a run.

        Raises:
            LogUnavailable: the store has fallen too far behind.
        """
        self._acceptor.check_open()
        self._committer.start()
        return self._run.ask(lambda _stream, _model: (event,))

    def _transact_node(self, decide: Decide, *, reserved: bool) -> int | None:
        if not self._begun:
            self.begin()
        return self._run.transact(decide, reserved=reserved)

    def add_source(self, source: ActivitySource) -> None:
        """Asks a source to settle what it holds before other events of a connection; weakly."""
        living = (reference for reference in self._sources if reference() is not None)
        self._sources = (*living, weakref.ref(source))

    def transact(
        self,
        lifecycle: str | Lifecycle,
        stream_id: str,
        decide: Decide,
        *,
        reserved: bool = False,
    ) -> int | None:
        """Runs a decision under the log's lock and accepts the events it answers with.

        All of them are accepted, or none. ``decide(stream, model)`` must be pure: it gets the
        stream's record (``state``, ``version`` and, for connections, what is known of it) and
        the read model, and may raise to refuse.

        Args:
            lifecycle: one that the log knows, or its name.
            stream_id: 1 to 512 characters without control characters.
            decide: the decision.
            reserved: whether it ends a stream, and so may use the room kept for that.

        Returns:
            The sequence number of the last event in this writer. None where the call came from
            a signal handler or finaliser that interrupted another call: it is queued and runs
            when that one leaves.

        Raises:
            Refused: the decision said no, or the table has no way for an event.
            InvalidArgument, InvalidArgumentType: an event cannot be stored.
            LogUnavailable: the store has fallen too far behind.
            LogClosed, LogForked, WriterFenced: nothing is accepted here any more.
        """
        known = self._known(lifecycle)
        check_id(stream_id, f"{known.name} id")
        if not self._begun:
            self.begin()
        if known.name != CONNECTION.name or not self._sources or self._acceptor.inside:
            return self._acceptor.transact(known, stream_id, decide, reserved=reserved)
        with self._acceptor.lock:
            for source in self._sources:
                settled = source()
                if settled is not None:
                    settled.settle(stream_id, reserved=reserved)
            return self._acceptor.transact(known, stream_id, decide, reserved=reserved)

    def _known(self, lifecycle: str | Lifecycle) -> Lifecycle:
        name = getattr(lifecycle, "name", lifecycle)
        if not isinstance(name, str):
            raise InvalidArgumentType(f"{lifecycle!r} is no lifecycle, nor the name of one")
        known = self._lifecycles.get(name)
        if known is not None and lifecycle is not known and lifecycle != name:
            raise InvalidArgument(f"this log was opened with another lifecycle named {name!r}")
        if known is None:
            names = ", ".join(sorted(self._lifecycles))
            raise InvalidArgument(
                f"this log knows no lifecycle {name!r}, only {names}; open it with lifecycles=(…)"
            )
        return known

    def append(
        self,
        stream: tuple[str | Lifecycle, str],
        *events: Any,
        expected_version: int | None = None,
    ) -> int | None:
        """Appends events to one stream, all or none.

        Args:
            stream: (lifecycle, id).
            events: instances of the lifecycle's event classes, in order.
            expected_version: how many events the stream must have; None does not check.

        Returns:
            What `transact` returns. With durability ``committed`` the events are durable then,
            except on a thread with a running event loop.

        Raises:
            WrongExpectedVersion: the stream is at another version.
            IllegalEvent: the table has no way for an event from the stream's state.
            LogUnavailable: see `transact` and `flush`.
        """
        mark = self._append(stream, events, expected_version)
        if mark is None:
            return None
        if self.durability == "committed" and self._may_wait():
            self._committer.flush(mark, None)
        return mark.seq

    def _may_wait(self) -> bool:
        return not self.inside and not in_event_loop()

    def _append(
        self, stream: tuple[str | Lifecycle, str], events: tuple[Any, ...], expected: int | None
    ) -> Mark | None:
        """Appends; answers with how far all must be durable, None where it was queued."""
        generation = 0

        def decide(record: Any, _model: ReadModel) -> tuple[Any, ...]:
            nonlocal generation
            generation = self._acceptor.generation
            if expected is not None and record.version != expected:
                name = f"{record.lifecycle}/{record.id}"
                raise WrongExpectedVersion(name, expected, record.version)
            return events

        try:
            lifecycle, stream_id = stream
        except (TypeError, ValueError):
            raise InvalidArgumentType(f"a stream is (lifecycle, id), not {stream!r}") from None
        seq = self.transact(lifecycle, stream_id, decide)
        return None if seq is None else Mark(generation, seq)

    async def append_async(
        self,
        stream: tuple[str | Lifecycle, str],
        *events: Any,
        expected_version: int | None = None,
    ) -> Position:
        """Like `append`, and waits until the events are durable without blocking the loop.

        Cancelling it does not take the events back. While the store fails it waits on.

        Returns:
            The position of an event at or after the last one appended.

        Raises:
            What `append` raises; WriterFenced, LogUnavailable: the log ended before.
        """
        import asyncio  # 40 ms that a synchronous program need not pay

        loop = asyncio.get_running_loop()
        mark = self._append(stream, events, expected_version) or self._acceptor.mark
        return await wait_on_loop(mark, self._committer.when_durable, loop)

    def flush(self, timeout: float | None = None) -> Position | None:
        """Waits until everything accepted so far is durable.

        Args:
            timeout: seconds; None waits as long as the store works.

        Returns:
            The position of the last durable event of this writer, None where there is none.

        Raises:
            LogUnavailable: the store fails (without a timeout: at its first failure since).
            OutcomeUnknown: the same, where nobody knows whether the last frame was stored.
            WriterFenced: somebody else has taken over this writer's chain.
            FlushTimeout: it takes longer than ``timeout``; or it would wait for itself, as a
                signal handler or finaliser that interrupted the log (see `inside`).
            LogForked: in a forked child.
        """
        self._ensure_ours()
        if self.inside:
            raise FlushTimeout("a call that interrupted the log cannot wait for it")
        return self._committer.flush(self._acceptor.settle(), timeout)

    def read(self, after: Position | None = None) -> Iterator[Recorded]:
        """Every durable event after a position, of all writers, in the store's order.

        Raises:
            HistoryEvicted: a bounded memory log no longer holds the beginning.
            DamagedFrame: a frame cannot be read.
            LogForked: in a forked child.
        """
        self._ensure_ours()
        return read_recorded(self.store, ReadModel(self._lifecycles.values()), after)

    def subscribe(self, after: Position | None = None) -> Subscription:
        """Follows the log from a position on: an iterator that blocks for the next event.

        It waits out a store that cannot be read, and says why by its ``problem``.

        Raises:
            LogForked: in a forked child.
        """
        self._ensure_ours()
        return Subscription(self.store, ReadModel(self._lifecycles.values()), after)

    def project(self, projection: P) -> LiveProjection[P]:
        """Folds every durable event into a projection: those of the past now, then what comes.

        It returns when the projection has caught up, which takes long for a long log: on an event
        loop, call it by ``asyncio.to_thread``. From then on it follows on a thread of its own.
        One with ``name``, ``version``, ``dump`` and ``load`` (see `SnapshotProjection`) goes on
        from where it was when its log was closed, if the store keeps snapshots.

        Args:
            projection: whatever has a method ``fold``, which gets each `Recorded` event once, of
                all writers, in the order of the store.

        Returns:
            What follows: wait for it, read it, close it. It ends with the log.

        Raises:
            InvalidArgument, InvalidArgumentType: it is no projection.
            HistoryEvicted: a bounded memory log no longer holds the beginning.
            DamagedFrame: a frame cannot be read.
            LogClosed, LogForked: the log is closed, or the parent's.
            Whatever its code raises while it catches up.
        """
        from rat_fsm.log.projecting import LiveProjection  # for those who have a projection

        self._ensure_ours()
        live = LiveProjection(self.store, self._lifecycles.values(), projection)
        with self._closing:
            if self._closed:
                live.retire()
                raise LogClosed("the log was closed; open it again")
            following = (one for one in self._projections if not one.ended)
            self._projections = (*following, live)
        weakref.finalize(self, live.retire).atexit = False
        return live

    @contextlib.contextmanager
    def reading(self) -> Iterator[ReadModel]:
        """The live read model, held still while the context lasts: keep it short.

        Raises:
            LogForked: in a forked child.
        """
        self._ensure_ours()
        with self._acceptor.lock:
            yield self.read_model

    @property
    def health(self) -> Health:
        """The condition of the log now."""
        return health_of(
            self._acceptor,
            self._committer,
            now=self._now() // self._tick,
            durability=self.durability,
            guarantee=getattr(self.store, "guarantee", ""),
        )

    def _ensure_ours(self) -> None:
        if isinstance(self._acceptor.refusal, LogForked):
            self._acceptor.check_open()

    def keep_report(self, report: Mapping[str, Any]) -> None:
        """Records this with the end of the run, when the log is closed: how a shutdown went."""
        self._run.report = dict(report)

    def close(
        self, report: Mapping[str, Any] | None = None, timeout: float = CLOSE_TIMEOUT
    ) -> None:
        """Records the end of this run, makes everything durable and lets go of the store.

        Idempotent. What is still open then is ended by the next log that opens the store.

        Args:
            report: what a shutdown had to say, recorded with the end.
            timeout: how many seconds the store may take.

        Raises:
            LogUnavailable, WriterFenced, FlushTimeout: not everything became durable; the log is
                closed all the same.
            FlushTimeout: as `flush`, in a call that interrupted the log; it is as it was.
        """
        if isinstance(self._acceptor.refusal, LogForked):
            return
        if self.inside:
            raise FlushTimeout("a call that interrupted the log cannot wait for it to close")
        with self._closing:
            if self._closed:
                return
            self._closed = True
            try:
                self._committer.flush(self._stop_run(report), timeout)
                self._snapshot()
            finally:
                self._let_go(timeout)

    def _stop_run(self, report: Mapping[str, Any] | None) -> Mark:
        """Accepts the end of the run and nothing after it; answers with how far that is."""
        with self._acceptor.lock:
            try:
                if self._begun:
                    self._run.stop(report)
            finally:
                self._acceptor.stop(LogClosed("the log was closed; open it again"))
            return self._acceptor.settle()

    def _snapshot(self) -> None:
        """Saves the model, so that the next opening is short."""
        position = self._committer.progress.position
        if position is None or self.durability == "memory":
            return
        self.read_model.cursor = {self.writer: self._acceptor.seq}
        self.read_model.last_at = {self.writer: self._acceptor.last_at}
        head = self._committer.progress.head
        save_snapshot(self.store, self.writer, self.read_model, position.frame, head)

    def _let_go(self, timeout: float) -> None:
        try:
            process.forget(self)
            self._finalizer.detach()
            self._committer.stop()
            self._committer.join(0.0 if self._committer.progress.error else timeout)
            self._close_projections(timeout)
        finally:
            self._committer.let_go()

    def _close_projections(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for live in self._projections:
            live.close(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> Any:
        """For a forked child: disables this log; the result must stay referenced."""
        refusal = LogForked("this log belongs to the parent process; open another")
        self._acceptor.forked(refusal)
        for live in self._projections:
            live.retire()
        self._finalizer.detach()
        return self.store

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()
