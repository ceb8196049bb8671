"""What is different where triggers are awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transitions.extensions.asyncio import AsyncMachine

from rat_fsm.integrations.transitions.machine import EventSourced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transitions import EventData


class AsyncEventSourced(EventSourced, AsyncMachine):
    """An event-sourced machine whose triggers are awaited; the log is never waited for."""

    async def _process_async(self, trigger: Any, model: object) -> Any:
        return await super()._process_async(self._watched(self._watch_async, trigger), model)

    async def _watch_async(
        self, event_data: EventData, name: str, trigger: Callable[[], Awaitable[Any]]
    ) -> Any:
        with self._triggered(event_data, name) as flight:
            flight.result = await trigger()
        return flight.result
