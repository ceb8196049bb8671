"""The network between the servers of a cluster, of which one can be cut off from the others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from tests.faults.plan import Plan
from tests.faults.proxy import Proxy
from tests.faults.wires import AnyWire
from tests.servers.nats import HOST

if TYPE_CHECKING:
    from types import TracebackType


class Network:
    """A proxy for every way from one server to another, by their numbers."""

    def __init__(self) -> None:
        self._ways: dict[tuple[int, int], Proxy] = {}
        self._open = contextlib.ExitStack()

    def way(self, one: int, other: int, port: int) -> str:
        """The address by which one server reaches the port of another."""
        proxy = Proxy((HOST, port), AnyWire, Plan(0))
        self._ways[one, other] = self._open.enter_context(proxy)
        return proxy.address

    def cut_off(self, number: int) -> None:
        """Keeps a server and the others from each other until `heal`; their clients reach all."""
        for ends, proxy in self._ways.items():
            if number in ends:
                proxy.part()

    def heal(self) -> None:
        """What they said to each other meanwhile arrives."""
        for proxy in self._ways.values():
            proxy.heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()
