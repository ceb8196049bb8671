"""A TCP proxy on the loopback that does to a client's appends what a bad network does.

It forwards what it hears, whole messages at a time, and asks for each one that stores something
what is to happen to it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.faults.plan import Fault, Plan

CHUNK: Final = 65536
BACKLOG: Final = 64
PATIENCE: Final = 10.0
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Wire(Protocol):
    """Splits what a client says into messages."""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The messages that are complete now, each with whether it stores something."""


class Proxy:
    """Stands before a server; leaving the context ends it and every connection.

    Args:
        upstream: the server's host and port.
        wire: makes what splits the messages of one connection.
        plan: what happens to them.

    Attributes:
        address: where clients connect, ``host:port``.
    """

    def __init__(self, upstream: tuple[str, int], wire: Callable[[], Wire], plan: Plan) -> None:
        self._upstream = upstream
        self._wire = wire
        self._plan = plan
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        self._links: list[_Link] = []
        self._closed = False
        self._ways = Ways()
        self._thread = threading.Thread(target=self._accept, name="proxy")
        self._thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the listener was closed
                return
            try:
                server = socket.create_connection(self._upstream, PATIENCE)
            except OSError:  # nobody is there: the client hears what it would hear from no server
                _reset(client)
                continue
            server.settimeout(None)
            self._links = [link for link in self._links if link.alive]
            self._links.append(_Link(client, server, self._wire(), self._plan, self._ways))

    def part(self) -> None:
        """Parts the network: nothing gets through until `heal`, and nobody is told."""
        self._ways.to_server.clear()
        self._ways.to_client.clear()

    def mute(self) -> None:
        """Lets no answer through until `heal`; what clients say arrives."""
        self._ways.to_client.clear()

    def heal(self) -> None:
        """What was sent meanwhile arrives, also that of clients who have given up since."""
        self._ways.to_server.set()
        self._ways.to_client.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        self.heal()
        with contextlib.suppress(OSError):  # accepting ends only if somebody connects
            socket.create_connection(self._listener.getsockname(), PATIENCE).close()
        self._listener.close()
        self._thread.join(PATIENCE)
        for link in self._links:
            link.cut()
            link.join()


class Ways:
    """What is open: set for each direction in which bytes get through."""

    def __init__(self) -> None:
        self.to_server, self.to_client = threading.Event(), threading.Event()
        self.to_server.set()
        self.to_client.set()


class _Link:
    """One connection of a client, and the one to the server that goes with it."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        wire: Wire,
        plan: Plan,
        ways: Ways,
    ) -> None:
        self._client, self._server = client, server
        self._ways = ways
        self._wire = wire
        self._plan = plan
        self._deaf = threading.Event()
        self._unheard = threading.Event()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(forward,), name=f"proxy {forward.__name__}")
            for forward in (self._to_server, self._to_client)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, forward: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):  # one of both has hung up, or the link was cut
            forward()
        self.cut()

    def _to_client(self) -> None:
        while data := self._server.recv(CHUNK):
            self._ways.to_client.wait()
            if self._deaf.is_set():
                self._unheard.set()
            else:
                self._client.sendall(data)

    def _to_server(self) -> None:
        while data := self._client.recv(CHUNK):
            self._ways.to_server.wait()
            for message, stores in self._wire.feed(data):
                if not self._deliver(message, self._plan.draw() if stores else None):
                    return

    def _deliver(self, message: bytes, fault: Fault | None) -> bool:
        """Forwards a message as the fault has it; whether the connection goes on."""
        if fault == "delay":
            self._ended.wait(self._plan.delay)
        if fault == "cut_before":
            return False
        if fault == "cut_within":
            self._server.sendall(message[: self._plan.part(len(message))])
            return False
        if fault in {"cut_after", "lose_ack"}:
            self._deaf.set()
        self._server.sendall(message * 2 if fault == "duplicate" else message)
        if fault == "cut_after":
            self._unheard.wait(self._plan.silence)
        if fault == "lose_ack":
            self._ended.wait(self._plan.silence)
        return not self._deaf.is_set()

    def cut(self) -> None:
        """Resets both connections."""
        self._ended.set()
        for end in (self._client, self._server):
            _reset(end)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the proxy hangs"


def _reset(end: socket.socket) -> None:
    """Closes a connection so that the other side hears of it as of a crash."""
    with contextlib.suppress(OSError):  # it is closed already
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RDWR)
    end.close()
