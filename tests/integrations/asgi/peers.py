"""Clients on raw sockets that note everything they can see."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import h11
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST: Final = "127.0.0.1"
PATIENCE: Final = 15.0
SIZE: Final = 1 << 16
# What differs from run to run for reasons of its own.
CHANGING: Final = frozenset({"date", "last-modified", "etag"})


@attrs.frozen
class Seen:
    """All that a client has seen of one exchange.

    Attributes:
        status: of the response, 0 where there was none.
        headers: in order, without those that change.
        body: without the framing of chunks; the messages of a WebSocket.
        ending: complete, cut, or left where the client went first; the code of a WebSocket.
        reusable: whether the connection could carry another request afterwards.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | tuple[str | bytes, ...] = b""
    ending: str = ""
    reusable: bool = False


@attrs.frozen
class Request:
    """What a client sends; it leaves once it has so many bytes of the body.

    Attributes:
        pieces: of a body that is sent in chunks; all of it as one where there is a length.
        finish: whether the end of the body is sent.
    """

    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...] = ()
    finish: bool = True
    leave_after: int | None = None

    def send(self, port: int, label: str) -> Exchange:
        """Sends it on a connection of its own."""
        return Exchange(self, port, label)


class Exchange:
    """A request on its way."""

    def __init__(self, request: Request, port: int, label: str) -> None:
        self._request = request
        self._http = h11.Connection(h11.CLIENT)
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._status, self._headers, self._body = 0, (), bytearray()  # type: tuple[Any, Any, Any]
        headers = [("Host", HOST), ("X-Label", label), *request.headers]
        chunked = request.pieces and "Content-Length" not in dict(headers)
        if chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        self._send(h11.Request(method=request.method, target=request.path, headers=headers))
        for piece in request.pieces:
            self._send(h11.Data(data=piece))
        if request.finish:
            self._send(h11.EndOfMessage())

    def _send(self, event: Any) -> None:
        self._socket.sendall(self._http.send(event) or b"")

    def finish(self) -> None:
        """Sends the end of the body."""
        self._send(h11.EndOfMessage())

    def see(self) -> Seen:
        """Reads to the end, or to where it leaves."""
        try:
            while not (ending := self._step()):
                limit = self._request.leave_after
                if limit is not None and len(self._body) >= limit:
                    return self._seen("left")
            return self._seen(ending)
        finally:
            self._socket.close()

    def _step(self) -> str | None:
        """Takes one event; how it ended, None while it goes on."""
        try:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self._http.receive_data(self._socket.recv(SIZE))
                except ConnectionResetError:
                    return "cut"
                return None
        except h11.RemoteProtocolError:
            return "cut"
        if isinstance(event, h11.Response):
            self._status = event.status_code
            headers = [(name.decode(), value.decode()) for name, value in event.headers]
            self._headers = tuple(pair for pair in headers if pair[0] not in CHANGING)
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return "complete"
        return None

    def _seen(self, ending: str) -> Seen:
        left = ending == "left"
        body = bytes(self._body)[: self._request.leave_after] if left else bytes(self._body)
        reusable = self._http.their_state is h11.DONE and self._http.our_state is h11.DONE
        return Seen(self._status, self._headers, body, ending, reusable)


@attrs.frozen
class Conversation:
    """What the client of a WebSocket says, and how it goes.

    Attributes:
        say: each is sent once the answer to the one before has come.
        close: the code it closes with; None waits for the other side, 0 goes without a word.
    """

    path: str
    say: Sequence[str | bytes] = ()
    close: int | None = 1000
    subprotocols: tuple[str, ...] = ()

    def have(self, port: int, label: str) -> Seen:
        """Has it."""
        return _Talk(self, port, label).have()


class _Talk:
    def __init__(self, conversation: Conversation, port: int, label: str) -> None:
        self._conversation = conversation
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        uri = parse_uri(f"ws://{HOST}:{port}{conversation.path}")
        wanted = [Subprotocol(name) for name in conversation.subprotocols] or None
        self._protocol = ClientProtocol(uri, subprotocols=wanted)
        request = self._protocol.connect()
        request.headers["X-Label"] = label
        self._protocol.send_request(request)
        self._response: Response | None = None
        self._messages: list[str | bytes] = []
        self._over = False

    def have(self) -> Seen:
        try:
            self._read_until(lambda: self._response is not None)
            for number, said in enumerate(self._conversation.say, 1):
                if isinstance(said, str):
                    self._protocol.send_text(said.encode())
                else:
                    self._protocol.send_binary(said)
                self._read_until(lambda number=number: len(self._messages) >= number)
            opened = self._response is not None and self._response.status_code == 101
            if self._conversation.close and opened and not self._over:
                self._protocol.send_close(self._conversation.close, "bye")
            if self._conversation.close != 0:
                self._read_until(lambda: self._over)
        finally:
            self._socket.close()
        return self._seen()

    def _read_until(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition() and not self._over:
            assert time.monotonic() < deadline
            self._flush()
            try:
                data = self._socket.recv(SIZE)
            except ConnectionResetError:
                data = b""
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
                self._over = True
            for event in self._protocol.events_received():
                self._note(event)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _note(self, event: Any) -> None:
        if isinstance(event, Response):
            self._response = event
        elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
            self._messages.append(bytes(event.data).decode())
        elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
            self._messages.append(bytes(event.data))
        elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
            self._over = True

    def _seen(self) -> Seen:
        response = self._response
        if response is None:
            return Seen(0)
        changing = {*CHANGING, "sec-websocket-accept"}
        headers = tuple(
            (name.lower(), value)
            for name, value in response.headers.raw_items()
            if name.lower() not in changing
        )
        received = self._protocol.close_rcvd
        ending = "" if received is None else f"{received.code} {received.reason}"
        body = tuple(self._messages) or bytes(response.body or b"")
        return Seen(response.status_code, headers, body, ending)
