"""The middleware: what comes in is admitted, recorded, watched, and drained at the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.integrations.asgi.admin import AdminPath
from rat_fsm.integrations.asgi.choices import (
    asks_for_events,
    drain_policy,
    excluder,
    kind_of,
    predicate,
)
from rat_fsm.integrations.asgi.http import HttpExchange
from rat_fsm.integrations.asgi.lifespan import Lifespan
from rat_fsm.integrations.asgi.refusals import refuse
from rat_fsm.integrations.asgi.routes import route_of
from rat_fsm.integrations.asgi.watch import Watch
from rat_fsm.integrations.asgi.websocket import SocketExchange
from rat_fsm.integrations.serving.gate import Refusal
from rat_fsm.integrations.serving.service import Service
from rat_fsm.runtime.arguments import check_positive
from rat_fsm.streaming.ledger import SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rat_fsm.integrations.asgi.exchange import Exchange
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.runtime.shutdown import ShutdownReport
    from rat_fsm.streaming.asgi import Receive, Scope, Send

    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log: Final = logging.getLogger("rat_fsm")


class StreamingMiddleware:
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
        streams: a function of the scope that tells requests for streams: True, or the kind of
            stream as a string such as ``"llm"``. By default those that accept
            ``text/event-stream``.
        max_per_client: how many connections one client may have open; needs ``client_key``.
        client_key: a function of the scope that names the client, such as by its user; None is
            unlimited. Behind a proxy the address is the proxy's unless the server trusts its
            headers.
        activity_interval: seconds between records of what a connection has sent; 0 records each
            message.
        drain_timeout: seconds that responses have to end by themselves in a drain. Keep it
            below the server's own timeout, and that below the grace period of what sends
            SIGTERM.
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
        if max_per_client is not None and client_key is None:
            raise InvalidArgument(
                "max_per_client needs client_key, a function that says whose connection it is"
            )
        self._streams = predicate(streams or asks_for_events, "streams")
        self._client_key = None if client_key is None else predicate(client_key, "client_key")
        self._policy = drain_policy(on_drain)
        self._excluded = excluder(exclude)
        self._service = Service(
            manager,
            max_per_client=max_per_client,
            activity_interval=activity_interval,
            drain_timeout=drain_timeout,
            lame_duck=lame_duck,
            signals=signals,
        )
        self.members: set[Exchange] = self._service.members  # type: ignore[assignment]  # its own
        self.records_every_chunk = activity_interval == 0
        self._watch = Watch(
            self.members,
            check_positive(stall_after, "stall_after"),
            _seconds(idle_timeout, "idle_timeout"),
            _seconds(max_lifetime, "max_lifetime"),
            _seconds(heartbeat, "heartbeat"),
        )
        self._admin = (
            None
            if admin_auth is None
            else AdminPath(admin_auth, admin_path, status=self.status, drain=self.begin_drain)
        )

    @property
    def manager(self) -> ConnectionManager:
        """Where connections are recorded."""
        return self._service.manager

    @property
    def ready(self) -> bool:
        """For a readiness probe: False from a drain's first moment on, and while the log fails."""
        return self._service.ready

    def begin_drain(self, requested_by: str = "") -> None:
        """Starts a drain and returns; from any thread."""
        self._service.begin_drain(requested_by)

    async def drain(self, requested_by: str = "") -> ShutdownReport:
        """Ends every stream and waits for the rest, at most ``lame_duck`` and ``drain_timeout``.

        What does not end by itself is cut off, visibly. For servers in a thread, where no
        signal arrives, and for scripts; it happens once, and later calls get the same report.
        """
        return await self._service.drain(requested_by)

    def status(self) -> dict[str, Any]:
        """How this process stands, as plain JSON: phase, progress, limits, and who is left."""
        return self._service.status()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        kind = scope["type"]
        if kind == "lifespan":
            await Lifespan(self, receive, send).run(scope)
        elif kind not in {"http", "websocket"} or (
            self._excluded is not None and self._excluded(scope)
        ):
            await self.app(scope, receive, send)
        else:
            self._service.start()
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._admit(SocketExchange(self, scope, receive, send), "websocket")
            return
        if self._admin is not None and self._admin.answers(scope):
            await self._admin(scope, receive, send)
            return
        exchange = HttpExchange(self, scope, receive, send)
        stream = kind_of(self._streams(scope))
        if stream is None:
            await exchange.run()
        else:
            await self._admit(exchange, stream)

    async def _admit(self, exchange: Exchange, kind: str) -> None:
        """Lets a connection in, serves it, and gives its slot back whatever happens."""
        scope = exchange.scope
        exchange.key = None if self._client_key is None else self._client_key(scope)
        exchange.identity = exchange.key or (_address(scope), scope["path"])
        refusal = self._service.gate.claim(exchange.key, exchange.identity)
        if refusal is None:
            try:
                answer = self._open(exchange, kind)
                if answer is None:
                    await exchange.run()
                    return
                refusal = answer
            finally:
                self._service.gate.release(exchange.key)
        await refuse(refusal, scope, exchange.server_receive, exchange.server_send)

    def _open(self, exchange: Exchange, kind: str, *, admitted: bool = False) -> Refusal | None:
        scope = exchange.scope
        answer = self._service.open(kind, _address(scope), _about(scope), admitted=admitted)
        if isinstance(answer, Refusal):
            return answer
        exchange.connection = scope[SCOPE_KEY] = answer
        exchange.began = exchange.last_move = exchange.last_sent = exchange.loop.time()
        answer.serve(exchange)
        self._watch.wake()
        return None

    # What exchanges ask of the middleware.

    @property
    def draining(self) -> bool:
        """Whether a drain was asked for."""
        return self._service.draining

    def register_late(self, exchange: Exchange, kind: str) -> bool:
        """Records a response that turned out to be a stream; it is being served already."""
        if self._open(exchange, kind, admitted=True) is not None:
            _log.warning("a stream of %s goes unrecorded: the log is unavailable", kind)
            return False
        self._activate(exchange)
        return True

    def response_started(self, exchange: Exchange) -> None:
        """A handshake is done, or a response has begun."""
        self._activate(exchange)
        if self._service.telling:
            exchange.drain()

    def _activate(self, exchange: Exchange) -> None:
        if exchange.connection is not None:
            exchange.connection.activated(route_of(self.app, exchange.before, exchange.scope))

    def closes_at_drain(self, exchange: Exchange) -> bool:
        """Whether a drain ends this stream, or lets it finish."""
        route = "" if exchange.connection is None else exchange.connection.route
        return self._policy(route, exchange.scope) == "close"

    def leave(self, exchange: Exchange) -> None:
        """The application's call is over."""
        self._service.leave(exchange)

    def keep_out(self, exchange: Exchange) -> None:
        """Turns the client of an exchange away at its next attempt."""
        self._service.gate.keep_out(exchange.identity)

    # What the lifespan asks of it.

    def start_up(self) -> None:
        """The application has started."""
        self._service.start()

    async def shut_down(self) -> None:
        """The server is ending: what is served comes first."""
        await self._service.shut_down("lifespan")

    def ended(self) -> None:
        """The application has ended."""
        self._service.end()


def _seconds(value: float | None, what: str) -> float | None:
    return None if value is None else check_positive(value, what)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client and client[0] else ""


def _about(scope: Scope) -> dict[str, Any]:
    """What is recorded of a request: never its query or its headers."""
    about = {"path": scope["path"], "http_version": scope.get("http_version", "1.1")}
    return {"method": scope["method"], **about} if "method" in scope else about
