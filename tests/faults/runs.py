"""One fault run: processes record, a reader looks on, a test does its worst, all is checked."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm import follow, replay
from rat_fsm.stores import open_store
from tests.faults.checking import check_log
from tests.faults.watching import Watcher
from tests.faults.writers import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rat_fsm.replay.following import Follower

PATIENCE: Final = 90.0
GLANCE: Final = 0.02


@attrs.frozen
class Run:
    """What a test has to do with while it runs.

    Attributes:
        url: where the log really is, whatever stands between it and the writers.
        writers: the processes.
        watcher: who looks on.
        follower: who keeps a read model up to date meanwhile.
    """

    url: str
    writers: list[Writer]
    watcher: Watcher
    follower: Follower

    def acknowledge(self, more: int = 1) -> None:
        """Waits until every living writer has heard of so many more durable records."""
        for writer in self.living:
            writer.wait_for_acknowledgement(more)

    def record(self, more: int = 1) -> None:
        """Waits until every living writer has accepted so many more records, durable or not."""
        for writer in self.living:
            writer.wait_for_records(more)

    def wait_for_status(self, status: str) -> None:
        """Waits until the health of every living writer says so."""
        for writer in self.living:
            writer.wait_for_status(status)

    def follow(self, status: str) -> None:
        """Waits until the follower says so."""
        deadline = time.monotonic() + PATIENCE
        while self.follower.health.status != status:
            assert time.monotonic() < deadline, f"the follower says {self.follower.health}"
            time.sleep(GLANCE)

    @property
    def living(self) -> list[Writer]:
        """The writers that have not ended."""
        return [writer for writer in self.writers if writer.process.poll() is None]

    def end(self) -> None:
        """Ends who still lives, and checks everything."""
        for writer in self.living:
            assert writer.end().error is None
        self.watcher.end()
        assert self.follower.wait(timeout=PATIENCE)
        assert self.follower.health.status == "ok"
        assert self.follower.read_model == replay(self.url)
        check_log(self.url, self.writers)
        with contextlib.closing(open_store(self.url)) as store:
            self.watcher.check(list(store.read()))


@contextlib.contextmanager
def fault_run(
    url: str, folder: Path, count: int, *, through: str | None = None, spill: Path | None = None
) -> Iterator[Run]:
    """So many writers on the log at a URL; leaving the context ends and checks the run.

    Args:
        url: of the log.
        folder: where the processes keep their accounts.
        count: of writers.
        through: the URL that the writers use instead, that of a proxy.
        spill: a file for what the store does not take.
    """
    writers: list[Writer] = []
    try:
        # One by one: should a process not start, those before it must end.
        writers.extend(
            Writer(through or url, folder, f"p{number}", spill=spill) for number in range(count)
        )
        for writer in writers:
            writer.ready()
        with Watcher(url) as watcher, follow(url) as follower:
            run = Run(url, writers, watcher, follower)
            run.acknowledge()
            yield run
            run.end()
    finally:
        for writer in writers:
            writer.discard()
