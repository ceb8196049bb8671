"""The recorder of an aiohttp application: a middleware around its handlers, and its signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import MissingExtra

try:
    from aiohttp import web
except ImportError as missing:
    raise MissingExtra("the adapter for aiohttp", "aiohttp") from missing

from rat_fsm.integrations.aiohttp.exchange import Exchange
from rat_fsm.integrations.serving.choices import kind_of, predicate
from rat_fsm.integrations.serving.connection import CURRENT, Connection
from rat_fsm.integrations.serving.recorder import Recorder
from rat_fsm.integrations.serving.service import Service
from rat_fsm.streaming.arguments import BODILESS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from rat_fsm.integrations.serving.gate import Refusal
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.manager import ConnectionManager

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NAME: Final = "rat_fsm.connection"
# aiohttp 3.14 has keys with a type for what is kept with a request, and warns of strings.
CONNECTION: Final[Any] = web.RequestKey(_NAME, Connection) if hasattr(web, "RequestKey") else _NAME
FORBIDDEN: Final = 403


class StreamRecorder(Recorder):
    """Makes a connection of each WebSocket and each streamed response of an application.

    ``StreamRecorder(app)`` is all there is to do, before the application starts. A WebSocket is
    a connection, and so is a request for which ``streams`` says so; these are known before the
    handler runs, and limits apply to them. Any other response becomes one when it starts as an
    event stream, or writes a first chunk without having declared a length; that one is never
    refused. A short response is none.

    A handler finds its connection by `current_connection`, or as ``request[CONNECTION]``. It is
    cancelled when its client has left and it neither writes nor receives, so that it would not
    notice; what must outlive the client belongs behind ``asyncio.shield``, or in a task of its own.

    The application's shutdown is a drain: event streams and WebSockets are ended at once and
    cleanly, the rest may end by itself until the deadline, and then transports are dropped, also
    of clients that take nothing. Sub-applications are served by the recorder of their parent.
    Limits are those of this process.

    Args:
        app: the application; it gets a middleware, outermost, and signal handlers.
        manager: where connections are recorded. By default one with a log in memory that
            refuses nobody and ends nothing.
        log: instead of a manager: a log, or the URL of one such as ``"sqlite:streams.db"``, which
            is opened when serving starts. The recorder closes it at the end.
        streams: a function of the request that tells requests for streams: True, or the kind of
            stream as a string such as ``"llm"``. By default those that accept
            ``text/event-stream``.
        max_per_client: how many connections one client may have open; needs ``client_key``.
        client_key: a function of the request that names the client, such as by its user; None
            is unlimited. Behind a proxy ``request.remote`` is the proxy.
        activity_interval: seconds between records of what a connection has sent; 0 records each
            message.
        drain_timeout: seconds that responses have to end by themselves in a drain. aiohttp's own
            ``shutdown_timeout`` only begins afterwards; both together belong below the grace
            period of what sends SIGTERM.
        stall_after: seconds that one write may wait for its client before the connection is
            recorded as stalled.
        idle_timeout: seconds without data either way after which a stream is ended.
        max_lifetime: seconds after which a stream is ended, however busy it is.
        heartbeat: seconds of silence after which an event stream gets a comment. For WebSockets
            see the same argument of ``web.WebSocketResponse``.
        on_drain: what a drain does to event streams and WebSockets: ``"close"`` ends them at
            once and cleanly (the default), ``"finish"`` lets them end by themselves until the
            deadline. One of the two, a mapping from route template or path to it, or a function
            of the request.
        exclude: paths (with everything below them) and predicates of the request that are
            passed through untouched.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """

    def __init__(
        self,
        app: web.Application,
        manager: ConnectionManager | None = None,
        *,
        log: EventLog | str | Path | None = None,
        streams: Callable[[web.Request], bool | str] | None = None,
        max_per_client: int | None = None,
        client_key: Callable[[web.Request], str | None] | None = None,
        activity_interval: float = 1.0,
        drain_timeout: float = 30.0,
        stall_after: float = 15.0,
        idle_timeout: float | None = None,
        max_lifetime: float | None = None,
        heartbeat: float | None = None,
        on_drain: str | Mapping[str, str] | Callable[[web.Request], str | None] | None = None,
        exclude: Sequence[str | Callable[[web.Request], bool]] = (),
    ) -> None:
        self._streams = predicate(streams or _asks_for_events, "streams")
        service = Service(
            manager,
            log=log,
            max_per_client=max_per_client,
            activity_interval=activity_interval,
            drain_timeout=drain_timeout,
            # run_app closes its listeners before an application hears of the signal, which it
            # hears of by on_shutdown: there is nobody left to let in, and no signal to chain.
            lame_duck=0.0,
            signals=False,
        )
        super().__init__(
            service,
            _path_of,
            limits_clients=max_per_client is not None,
            client_key=client_key,
            stall_after=stall_after,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            heartbeat=heartbeat,
            on_drain=on_drain,
            exclude=exclude,
            records_every_message=activity_interval == 0,
        )
        self._install(app)
        self.deaf = False  # whether the server drops what clients send

    def _install(self, app: web.Application) -> None:
        app.middlewares.insert(0, self._middleware)
        app.on_response_prepare.append(self._on_prepare)
        app.on_startup.append(self._on_startup)
        app.on_shutdown.insert(0, self._on_shutdown)
        app.on_cleanup.append(self._on_cleanup)

    async def _on_startup(self, _app: web.Application) -> None:
        self.deaf = False
        self._service.start()

    async def _on_shutdown(self, _app: web.Application) -> None:
        self.deaf = True
        await self._service.shut_down("shutdown")

    async def _on_cleanup(self, _app: web.Application) -> None:
        self._service.end()

    async def _on_prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        exchange = CURRENT.get()
        if isinstance(exchange, Exchange):
            exchange.prepare(response)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._is_excluded(request):
            return await handler(request)
        self._service.start()
        exchange = Exchange(self, request)
        kind = "websocket" if _is_handshake(request) else kind_of(self._streams(request))
        if kind is not None:
            refusal = self._admit(exchange, kind)
            if refusal is not None:
                return _answer(refusal, request)
        return await exchange.serve(handler)

    def _open(self, served: Any, kind: str, *, admitted: bool = False) -> Refusal | None:
        refusal = super()._open(served, kind, admitted=admitted)
        if refusal is None:
            served.subject[CONNECTION] = served.connection
        return refusal


def _path_of(request: web.Request) -> str:
    return request.path


def _asks_for_events(request: web.Request) -> bool:
    return any(
        "text/event-stream" in value.lower() for value in request.headers.getall("accept", ())
    )


def _is_handshake(request: web.Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


def _answer(refusal: Refusal, request: web.Request) -> web.Response:
    # A WebSocket client takes any status but 101 for a no; 204 would promise it a stream's end.
    kept_out = refusal.status in BODILESS and _is_handshake(request)
    status = FORBIDDEN if kept_out else refusal.status
    response = web.Response(status=status, text=refusal.text or None, headers=refusal.headers)
    if "connection" in response.headers:
        response.force_close()
    return response
