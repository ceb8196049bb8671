"""Drains what an adapter serves: tell those that can end now, wait for the rest, then cut."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.core import ForceDrain
from rat_fsm.errors import LogError
from rat_fsm.runtime.shutdown import GracefulShutdown, ShutdownReport

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from rat_fsm.integrations.serving.member import Member
    from rat_fsm.runtime.manager import ConnectionManager

LINE_INTERVAL: Final = 1.0
# After a cut, tasks have this long to unwind; a task that takes longer is reported.
UNWIND: Final = 1.0
SHOWN: Final = 10
_log: Final = logging.getLogger("rat_fsm")


class Drainer:
    """One drain of one adapter, asked for any number of times.

    Args:
        manager: whose log records it.
        members: what is being served now; the adapter keeps it up to date.
        timeout: seconds that members have to end by themselves.
        lame_duck: seconds that new connections are still let in, while readiness is off already.

    Attributes:
        asked: whether a drain has been asked for: what is not ready gets no new clients.
        telling: whether members that can end now have been told to.
        report: how it went, None before its end.
    """

    def __init__(
        self,
        manager: ConnectionManager,
        members: AbstractSet[Member],
        *,
        timeout: float,
        lame_duck: float,
    ) -> None:
        self._manager = manager
        self._members = members
        self._lame_duck = lame_duck
        self._shutdown = GracefulShutdown(manager, timeout=timeout)
        self._task: asyncio.Task[ShutdownReport] | None = None
        self._changed = asyncio.Event()
        self._forced = asyncio.Event()
        self._asked_at = 0.0
        self._told: frozenset[Member] = frozenset()
        self.asked = False
        self.telling = False
        self.requested_by = ""
        self.report: ShutdownReport | None = None

    def begin(self, requested_by: str) -> asyncio.Task[ShutdownReport]:
        """Starts the drain, on the loop that serves; later calls get the same task."""
        if self._task is None:
            self.asked = True
            self.requested_by = requested_by
            self._asked_at = asyncio.get_running_loop().time()
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def insist(self) -> None:
        """Does not wait any longer, once a second has passed since it began.

        Not before, as one Ctrl-C can reach a worker as SIGINT and SIGTERM.
        """
        if asyncio.get_running_loop().time() - self._asked_at >= 1.0:
            self._forced.set()
            self._changed.set()

    def member_left(self) -> None:
        """A member is gone."""
        if self.asked:
            self._changed.set()

    @property
    def timeout(self) -> float:
        """Seconds that members have to end by themselves."""
        return self._shutdown.timeout

    async def _run(self) -> ShutdownReport:
        _log.info("not ready any more: a drain was asked for by %s", self.requested_by or "nobody")
        if self._lame_duck:
            await self._wait(self._lame_duck, until_empty=False)
        self._begin()
        started = asyncio.get_running_loop().time()
        self.telling = True
        self._told = frozenset(self._members)
        for member in self._told:
            member.drain()
        await self._wait(self.timeout, until_empty=True)
        left = [member for member in self._members if self._is_awaited(member)]
        if left:
            await self._cut(left)
        self.report = self._conclude(left, asyncio.get_running_loop().time() - started)
        return self.report

    def _is_awaited(self, member: Member) -> bool:
        """Whether the drain is not over without it.

        Short requests that come in meanwhile are the server's to finish: where they never cease,
        nobody would see the end of the drain.
        """
        return member in self._told or member.connection is not None

    def _begin(self) -> None:
        try:
            self._shutdown.begin(self.requested_by)
        except LogError as problem:  # what is served must end all the same
            _log.error("the drain could not be recorded: %s", problem)

    async def _cut(self, left: list[Member]) -> None:
        try:
            self._manager.log.transact_node(ForceDrain())
        except LogError as problem:
            _log.error("that the drain was forced could not be recorded: %s", problem)
        for member in left:
            member.cut()
        self._forced.clear()
        await self._wait(UNWIND, until_empty=True)

    async def _wait(self, seconds: float, *, until_empty: bool) -> None:
        """Waits until nothing is left, somebody insists, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        line_at = loop.time() + LINE_INTERVAL
        while not self._forced.is_set():
            if until_empty and not any(map(self._is_awaited, self._members)):
                return
            now = loop.time()
            if now >= deadline:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(min(deadline, line_at) - now):
                    await self._changed.wait()
            except TimeoutError:
                if loop.time() >= line_at:
                    line_at += LINE_INTERVAL
                    self._write_line()

    def _write_line(self) -> None:
        progress = self._shutdown.progress
        _log.info(
            "draining: %d of %d connections closed, %d remaining, %d stalled; %d requests in all",
            progress.closed,
            progress.total,
            progress.remaining,
            progress.stalled,
            len(self._members),
        )

    def _conclude(self, cut: list[Member], duration: float) -> ShutdownReport:
        remaining = [member.connection for member in self._members]
        stuck = tuple(connection.id for connection in remaining if connection is not None)
        forced = sum(member.connection is not None for member in cut) - len(stuck)
        total = self._shutdown.progress.total
        report = ShutdownReport(
            total=total,
            ended=max(0, total - forced - len(stuck)),
            forced=forced,
            not_closed=stuck,
            duration=duration,
            complete=not stuck,
        )
        self._manager.log.keep_report({**attrs.asdict(report), "not_closed": len(stuck)})
        _log.info("drained in %.2f s: %d ended, %d cut", duration, report.ended, forced)
        if stuck:
            _log.warning(
                "%d connections cannot be ended from here, their clients take nothing: %s",
                len(stuck),
                ", ".join(stuck[:SHOWN]),
            )
        return report
