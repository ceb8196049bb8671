"""The recorder of a WebSocket server: it stands before the handler, and in its handshakes."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import MissingExtra

try:
    from websockets.asyncio.server import serve
except ImportError as missing:
    raise MissingExtra("the adapter for websockets", "websockets") from missing

from rat_fsm.integrations.serving.choices import predicate
from rat_fsm.integrations.serving.recorder import Recorder
from rat_fsm.integrations.websockets.program import Program
from rat_fsm.integrations.websockets.session import Session, path_of
from rat_fsm.streaming.arguments import BODILESS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

    from rat_fsm.integrations.serving.gate import Refusal
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.runtime.shutdown import ShutdownReport

    Handler = Callable[[ServerConnection], Awaitable[None]]
    Hook = Callable[[ServerConnection, Request], Awaitable[Response | None] | Response | None]

FORBIDDEN: Final = 403
TRY_AGAIN_LATER: Final = 1013


class SocketRecorder(Recorder):
    """Wraps the handler of a WebSocket server; it is a handler itself.

    The short way is its own `serve`, and `drained` to wait for the end::

        recorder = SocketRecorder(handler, manager)
        async with recorder.serve("127.0.0.1", 8765):
            await recorder.drained()  # SIGTERM, SIGINT, or somebody who asked

    A program that calls ``websockets.asyncio.server.serve`` by itself gives it the recorder as
    the handler and `process_request` as the hook of that name. Without the hook clients are
    turned away after their handshake, by a close with 1013.

    A connection is known to handlers as `current_connection`. A handler is cancelled when its
    connection is over and it neither sends nor receives, so that it would not notice.

    Args:
        handler: the handler.
        manager: where connections are recorded. By default one with a log in memory that
            refuses nobody and ends nothing.
        log: instead of a manager: a log, or the URL of one such as ``"sqlite:streams.db"``, which
            is opened when serving starts. The recorder closes it at the end.
        process_request: a hook of your own, asked about clients that are let in.
        max_per_client: how many connections one client may have open; needs ``client_key``.
        client_key: a function of the ``ServerConnection`` that names the client, such as by a
            token in ``connection.request.headers``; None is unlimited.
        activity_interval: seconds between records of what a connection has sent; 0 records each
            message.
        drain_timeout: seconds that connections have to end in a drain; then their transports are
            dropped, also of clients that take nothing.
        lame_duck: seconds before a drain in which it is not ready any more and still takes new
            connections.
        stall_after: seconds that one send may wait for its client before the connection is
            recorded as stalled.
        idle_timeout: seconds without messages either way after which a connection is ended.
        max_lifetime: seconds after which it is ended, however busy it is.
        on_drain: ``"close"`` ends connections at once with 1012 (the default), ``"finish"`` lets
            them end by themselves until the deadline. One of the two, a mapping from path to it,
            or a function of the connection.
        exclude: paths (with everything below them) and predicates of the connection that are
            passed through untouched.
        signals: whether SIGTERM and SIGINT start a drain, in the main thread.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """

    def __init__(
        self,
        handler: Handler,
        manager: ConnectionManager | None = None,
        *,
        log: EventLog | str | Path | None = None,
        process_request: Hook | None = None,
        max_per_client: int | None = None,
        client_key: Callable[[ServerConnection], str | None] | None = None,
        activity_interval: float = 1.0,
        drain_timeout: float = 30.0,
        lame_duck: float = 0.0,
        stall_after: float = 15.0,
        idle_timeout: float | None = None,
        max_lifetime: float | None = None,
        on_drain: str | Mapping[str, str] | Callable[[ServerConnection], str | None] | None = None,
        exclude: Sequence[str | Callable[[ServerConnection], bool]] = (),
        signals: bool = True,
    ) -> None:
        self._handler: Handler = predicate(handler, "handler")
        self._ask = None if process_request is None else predicate(process_request, "the hook")
        self._program = Program(
            manager,
            log=log,
            max_per_client=max_per_client,
            activity_interval=activity_interval,
            drain_timeout=drain_timeout,
            lame_duck=lame_duck,
            signals=signals,
        )
        super().__init__(
            self._program,
            path_of,
            limits_clients=max_per_client is not None,
            client_key=client_key,
            stall_after=stall_after,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            heartbeat=None,
            on_drain=on_drain,
            exclude=exclude,
            records_every_message=activity_interval == 0,
        )
        self._expected: dict[ServerConnection, Session] = {}

    @contextlib.asynccontextmanager
    async def serve(self, *arguments: Any, **options: Any) -> AsyncIterator[Server]:
        """Serves, with the arguments of ``websockets.asyncio.server.serve`` after the handler.

        Leaving it drains, if anything is left to drain, and closes the server.
        """
        self._service.start()
        try:
            async with serve(
                self, *arguments, process_request=self.process_request, **options
            ) as server:
                try:
                    yield server
                finally:
                    await self._service.shut_down("shutdown")
        finally:
            self._service.end()

    async def drained(self) -> ShutdownReport:
        """Waits for a drain, whoever asks for it, and until it is over.

        While a program waits here, SIGTERM does not end the process after the drain: the program
        goes on, and ends by itself.
        """
        return await self._program.wait_until_drained()

    async def process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """Lets a client in, or answers with 503, 429 or 403, in its opening handshake."""
        handshake = request.headers.get("Upgrade", "").lower() == "websocket"
        if handshake and not self._is_excluded(connection):
            self._service.start()
            session = Session(self, connection)
            refusal = self._admit(session, "websocket")
            if refusal is not None:
                return _answer(refusal, connection)
            self._expected[connection] = session
            if session.task is not None:  # the library's, which goes on with the handler, or ends
                session.task.add_done_callback(lambda _: self._forget(connection, session))
        return await self._asked(connection, request)

    def _forget(self, connection: ServerConnection, session: Session) -> None:
        self._expected.pop(connection, None)
        session.abandon()

    async def _asked(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._ask is None:
            return None
        response = self._ask(connection, request)
        answer: Response | None = await response if inspect.isawaitable(response) else response
        return answer

    async def __call__(self, connection: ServerConnection) -> None:
        """The handler."""
        if self._is_excluded(connection):
            await self._handler(connection)
            return
        session = self._expected.pop(connection, None) or await self._let_in(connection)
        if session is not None:
            session.attach()
            await session.run(lambda: self._handler(connection))

    async def _let_in(self, connection: ServerConnection) -> Session | None:
        """Where the server was not given the hook."""
        self._service.start()
        session = Session(self, connection)
        refusal = self._admit(session, "websocket")
        if refusal is None:
            return session
        await connection.close(TRY_AGAIN_LATER, refusal.text.strip())
        return None


def _answer(refusal: Refusal, connection: ServerConnection) -> Response:
    # A WebSocket client takes any status but 101 for a no; 204 would promise it a stream's end.
    status = FORBIDDEN if refusal.status in BODILESS else refusal.status
    response = connection.respond(status, refusal.text)
    for name, value in refusal.headers:
        if name not in response.headers:  # the library closes already
            response.headers[name] = value
    return response
