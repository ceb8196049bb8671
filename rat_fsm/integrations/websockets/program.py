"""The service of a program that serves WebSockets, and that may end by itself once drained."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rat_fsm.integrations.serving.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.runtime.shutdown import ShutdownReport


class Program(Service):
    """A service that its program can wait for.

    A signal whose default ends the process is not passed on after the drain while the program
    waits for it: the program ends by itself then, with everything in order.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._over = asyncio.Event()
        self._waiting = 0

    async def wait_until_drained(self) -> ShutdownReport:
        """Waits for a drain, whoever asks for it, and until it is over."""
        self.start()
        self._waiting += 1
        try:
            await self._over.wait()
        finally:
            self._waiting -= 1
        return await self.drain("")

    def _drain(self, requested_by: str) -> asyncio.Task[ShutdownReport]:
        task = super()._drain(requested_by)
        task.add_done_callback(lambda _: self._over.set())
        return task

    def _on_signal(self, name: str, then: Callable[[], None]) -> None:
        if self._waiting:
            self._drain(name)
        else:
            super()._on_signal(name, then)
