"""Clients on raw sockets that see how a stream ends, and can leave without manners."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import h11
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable

HOST: Final = "127.0.0.1"
PATIENCE: Final = 10.0  # seconds that a client waits for anything
RESET: Final = struct.pack("ii", 1, 0)  # linger for 0 s: close answers with RST
SMALL_BUFFER: Final = 4096
CHUNK: Final = 1 << 16
SSE: Final = "text/event-stream"
DRAINED: Final = re.compile(rb"(?:^|\n\n)retry: [1-9][0-9]*\n\nevent: drain\ndata: \{\}\n\n$")


class Peer:
    """A connection that is read only when somebody calls `read_until`.

    Attributes:
        ending: empty while it is open; then complete (the protocol's own end was seen), cut (the
            connection was closed without it) or reset.
        ended_at: when that was seen, in seconds of the monotonic clock.
    """

    def __init__(self, port: int, path: str, *, small_buffer: bool = False) -> None:
        self.path = path
        self.ending = ""
        self.ended_at = 0.0
        self._socket = socket.socket()
        self._socket.settimeout(PATIENCE)
        if small_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        try:
            self._socket.connect((HOST, port))
        except BaseException:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.path}: {self.ending or 'open'}>"

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def read(self) -> None:
        """Takes what has come; called when something has."""
        try:
            data = self._socket.recv(CHUNK)
        except ConnectionResetError:
            self._end("reset")
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        raise NotImplementedError

    def _end(self, how: str) -> None:
        if not self.ending:
            self.ending, self.ended_at = how, time.monotonic()

    def leave(self) -> None:
        """Closes the connection: FIN, as nothing unread is left behind. Idempotent."""
        if self.fileno() < 0:
            return
        self._socket.setblocking(False)  # noqa: FBT003 - socket's own signature
        try:
            while self._socket.recv(CHUNK):
                pass
        except OSError:  # nothing more has come, or it is broken already
            pass
        self._socket.close()

    def vanish(self) -> None:
        """Is gone without a word: RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._socket.close()


class HttpPeer(Peer):
    """One GET request, its response parsed strictly.

    Attributes:
        status: of the response, 0 before it.
        headers: of the response, names in lower case.
        body: what came of it so far, without its chunks' framing.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *,
        accept: str = SSE,
        small_buffer: bool = False,
        connection: str = "keep-alive",
    ) -> None:
        super().__init__(port, path, small_buffer=small_buffer)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self._http = h11.Connection(h11.CLIENT)
        headers = [("Host", HOST), ("Accept", accept), ("Connection", connection)]
        request = h11.Request(method="GET", target=path, headers=headers)
        self._socket.sendall(self._http.send(request) or b"")
        self._socket.sendall(self._http.send(h11.EndOfMessage()) or b"")

    def _take(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while not isinstance(event := self._http.next_event(), type(h11.NEED_DATA)):
                self._note(event)
                if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return
        except h11.RemoteProtocolError:  # also the end of the connection within a message
            self._end("cut")

    def _note(self, event: Any) -> None:
        if isinstance(event, h11.Response):
            self.status = event.status_code
            self.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            self.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self._end("complete" if self._is_framed() else "cut")

    def _is_framed(self) -> bool:
        """Whether the response says by itself where it ends, rather than with the connection."""
        bodiless = self.status in {204, 304}
        return bodiless or not {"transfer-encoding", "content-length"}.isdisjoint(self.headers)

    @property
    def drained(self) -> bool:
        """Whether it ended as a drained SSE stream should: cleanly, retry and drain last."""
        return self.ending == "complete" and DRAINED.search(self.body) is not None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class WebSocketPeer(Peer):
    """One WebSocket.

    Attributes:
        status: of the handshake, 0 before its answer.
        messages: what has come.
    """

    def __init__(self, port: int, path: str) -> None:
        super().__init__(port, path)
        self.status = 0
        self.messages: list[bytes] = []
        self._protocol = ClientProtocol(parse_uri(f"ws://{HOST}:{port}{path}"))
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    @property
    def code(self) -> int | None:
        """The close code: None while it is open, 1006 where it ended without a close frame."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.code
        return 1006 if self.ending else None

    def send(self, text: str) -> None:
        """Sends a message."""
        self._protocol.send_text(text.encode())
        self._flush()

    def say_goodbye(self, code: int) -> None:
        """Begins the closing handshake."""
        self._protocol.send_close(code, "bye")
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)
            else:  # the end of what it will send
                self._socket.shutdown(socket.SHUT_WR)

    def _take(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        try:
            self._flush()
        except OSError:  # the other side did not wait for our answer
            self._end("complete" if self._protocol.close_rcvd else "reset")
        for event in self._protocol.events_received():
            self._note(event)
        if not data or self._protocol.close_rcvd is not None:
            self._end("complete" if self._protocol.close_rcvd is not None else "cut")
        if isinstance(self._protocol.parser_exc, ProtocolError):
            raise self._protocol.parser_exc

    def _note(self, event: Any) -> None:
        if isinstance(event, Response):
            self.status = event.status_code
        elif isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self.messages.append(bytes(event.data))


def read_until(condition: Callable[[], bool], *peers: Peer, timeout: float = PATIENCE) -> None:
    """Reads from all of them until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {peers}"
        open_ones = [peer for peer in peers if not peer.ending]
        readable, _, _ = select.select(open_ones, [], [], 0.02)
        for peer in readable:
            peer.read()


def wait_for_start(*peers: Peer) -> None:
    """Waits until each of them has had something, so that it is served."""

    def served(peer: Peer) -> bool:
        if isinstance(peer, HttpPeer):
            return bool(peer.body)
        return getattr(peer, "status", 0) == 101

    read_until(lambda: all(map(served, peers)), *peers)


def wait_for_end(*peers: Peer, timeout: float = PATIENCE) -> None:
    """Reads from all of them until each has ended."""
    read_until(lambda: all(peer.ending for peer in peers), *peers, timeout=timeout)


def fetch(port: int, path: str, accept: str = "*/*") -> HttpPeer:
    """A whole short response."""
    peer = HttpPeer(port, path, accept=accept, connection="close")
    try:
        wait_for_end(peer)
    finally:
        peer.leave()
    if not peer.status:
        raise ConnectionAbortedError(f"no answer to {path}")
    return peer
