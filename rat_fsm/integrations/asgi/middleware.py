"""The middleware: what comes in is admitted, recorded, watched, and drained at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.integrations.asgi.admin import AdminPath
from rat_fsm.integrations.asgi.http import HttpExchange
from rat_fsm.integrations.asgi.lifespan import Lifespan
from rat_fsm.integrations.asgi.refusals import refuse
from rat_fsm.integrations.asgi.scopes import asks_for_events, path_of
from rat_fsm.integrations.asgi.websocket import SocketExchange
from rat_fsm.integrations.serving.choices import kind_of, predicate
from rat_fsm.integrations.serving.recorder import Recorder
from rat_fsm.integrations.serving.service import Service
from rat_fsm.streaming.ledger import SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from rat_fsm.integrations.asgi.exchange import Exchange
    from rat_fsm.integrations.serving.gate import Refusal
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.streaming.asgi import Receive, Scope, Send

    App = Callable[[Scope, Receive, Send], Awaitable[None]]


class StreamingMiddleware(Recorder):
    """Wraps an ASGI application: each WebSocket and each streamed response becomes a connection.

    Put it outermost. A WebSocket is a connection, and so is a request for which ``streams`` says
    so; these are known before the application runs, and limits apply to them. Any other
    response becomes one when it starts as an event stream, or sends a first chunk without having
    declared a length; that one is never refused. A short response is none.

    It needs an asyncio server. Its limits are those of this process: each worker has its own.

    Args:
        app: the application.
        manager: where connections are recorded. By default one with a log in memory that
            refuses nobody and ends nothing.
        log: instead of a manager: a log, or the URL of one such as ``"sqlite:streams.db"``, which
            is opened when serving starts. The middleware closes it at the end.
        streams: a function of the scope that tells requests for streams: True, or the kind of
            stream as a string such as ``"llm"``. By default those that accept
            ``text/event-stream``.
        max_per_client: how many connections one client may have open; needs ``client_key``.
        client_key: a function of the scope that names the client, such as by its user; None is
            unlimited. Behind a proxy the address is the proxy's unless the server trusts its
            headers.
        activity_interval: seconds between records of what a connection has sent; 0 records each
            message.
        drain_timeout: seconds that responses have to end by themselves in a drain. It belongs
            below the grace period of what sends SIGTERM, together with ``lame_duck`` and, on
            uvicorn, the server's own timeout, which counts from the end of the drain there;
            elsewhere the server's own timeout lies between. ``rat-fsm doctor`` checks it.
        lame_duck: seconds before a drain in which it is not ready any more and still takes new
            connections, for load balancers that are late to notice.
        stall_after: seconds that one send may wait for its client before the connection is
            recorded as stalled.
        idle_timeout: seconds without data either way after which a stream is ended.
        max_lifetime: seconds after which a stream is ended, however busy it is.
        heartbeat: seconds of silence after which an event stream gets a comment, so that
            proxies keep it open and a client that is gone is noticed.
        on_drain: what a drain does to event streams and WebSockets: ``"close"`` ends them at
            once and cleanly (the default), ``"finish"`` lets them end by themselves until the
            deadline, as a finite answer should. One of the two, a mapping from route template
            to it, or a function of the scope.
        exclude: paths (with everything below them) and predicates of the scope that are passed
            through untouched.
        admin_auth: a bearer token of at least 16 characters, or actor → token. Without it there
            is no admin path.
        admin_path: where GET answers with `status` and POST starts a drain.
        signals: whether SIGTERM and SIGINT start a drain, where the server runs in the main
            thread.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """

    def __init__(
        self,
        app: App,
        manager: ConnectionManager | None = None,
        *,
        log: EventLog | str | Path | None = None,
        streams: Callable[[Scope], bool | str] | None = None,
        max_per_client: int | None = None,
        client_key: Callable[[Scope], str | None] | None = None,
        activity_interval: float = 1.0,
        drain_timeout: float = 30.0,
        lame_duck: float = 0.0,
        stall_after: float = 15.0,
        idle_timeout: float | None = None,
        max_lifetime: float | None = None,
        heartbeat: float | None = None,
        on_drain: str | Mapping[str, str] | Callable[[Scope], str | None] | None = None,
        exclude: Sequence[str | Callable[[Scope], bool]] = (),
        admin_auth: str | Mapping[str, str] | None = None,
        admin_path: str = "/rat-fsm",
        signals: bool = True,
    ) -> None:
        self.app: App = predicate(app, "app")
        self.drain_timeout = drain_timeout
        self.lame_duck = lame_duck
        self.signals = signals
        self._streams = predicate(streams or asks_for_events, "streams")
        super().__init__(
            Service(
                manager,
                log=log,
                max_per_client=max_per_client,
                activity_interval=activity_interval,
                drain_timeout=drain_timeout,
                lame_duck=lame_duck,
                signals=signals,
            ),
            path_of,
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
        self._admin = (
            None
            if admin_auth is None
            else AdminPath(
                admin_auth, admin_path, status=self.status, drain=self._service.start_drain
            )
        )

    @property
    def log_place(self) -> str:
        """Where connections are recorded: ``memory``, or ``shared`` with other processes."""
        return self._service.log_place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        kind = scope["type"]
        if kind == "lifespan":
            await Lifespan(self, receive, send).run(scope)
        elif kind not in {"http", "websocket"} or self._is_excluded(scope):
            await self.app(scope, receive, send)
        else:
            self.start_up(scope)
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_stream(SocketExchange(self, scope, receive, send), "websocket")
            return
        if self._admin is not None and self._admin.answers(scope):
            await self._admin(scope, receive, send)
            return
        exchange = HttpExchange(self, scope, receive, send)
        stream = kind_of(self._streams(scope))
        if stream is not None:
            await self._serve_stream(exchange, stream)
        elif (refusal := self._shut_out(exchange)) is not None:
            await refuse(refusal, exchange)
        else:
            await exchange.run()

    async def _serve_stream(self, exchange: Exchange, kind: str) -> None:
        refusal = self._admit(exchange, kind)
        if refusal is None:
            await exchange.run()
        else:
            await refuse(refusal, exchange)

    def _open(self, served: Any, kind: str, *, admitted: bool = False) -> Refusal | None:
        refusal = super()._open(served, kind, admitted=admitted)
        if refusal is None:
            served.scope[SCOPE_KEY] = served.connection
        return refusal

    # What the lifespan asks of it.

    def start_up(self, scope: Scope) -> None:
        """The application has started, or what it serves comes without a lifespan."""
        if self._service.start():
            self._service.check(scope, self)

    async def shut_down(self) -> None:
        """The server is ending: what is served comes first."""
        await self._service.shut_down("lifespan")

    def ended(self) -> None:
        """The application has ended."""
        self._service.end()
