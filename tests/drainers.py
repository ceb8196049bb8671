"""Servers that follow requests to drain, or do not, each in a process of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rat_fsm import ConnectionManager, GracefulShutdown
from rat_fsm.runtime.requests import DrainRequests
from tests.processes import WriterProcess, writer_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rat_fsm.log import EventLog


class Server:
    """A manager with connections; asked to drain it ends them, or waits to be told."""

    def __init__(self, log: EventLog, count: int, behaviour: str) -> None:
        self.manager = ConnectionManager(log=log)
        self.ids = [f"{log.writer}-{number}" for number in range(count)]
        self._ends = behaviour == "ends"
        for connection_id in self.ids:
            self.manager.register_connection(connection_id, "10.0.0.1", kind="sse")
            self.manager.activate_connection(connection_id, route="/events")
            self.manager.record_activity(connection_id, 1000)
        self.requests = DrainRequests(log, self.drain)
        if behaviour != "ignores":
            self.requests.start()

    def drain(self, actor: str) -> None:
        """What an adapter does."""
        GracefulShutdown(self.manager, timeout=20.0).begin(actor)
        if self._ends:
            self.end(*self.ids)

    def end(self, *ids: str) -> None:
        """Ends connections as a drain does."""
        for connection_id in ids:
            self.manager.close_connection(connection_id, reason="shutdown", ended_by="shutdown")


@contextlib.contextmanager
def serving(path: Path | str, count: int = 2, behaviour: str = "ends") -> Iterator[WriterProcess]:
    """A process with a `Server` named ``server``: it ends, keeps (and drains), or ignores."""
    with writer_process(path, count=0) as other:
        other.run("from tests.drainers import Server")
        other.run(f"server = Server(log, {count}, {behaviour!r})")
        yield other
