"""A path for operators: GET says how it stands, POST starts a drain."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.integrations.asgi.scopes import path_of
from rat_fsm.runtime.arguments import MAX_ROUTE, check_text
from rat_fsm.runtime.requests import actor_name
from rat_fsm.streaming.http_response import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.streaming.asgi import Receive, Scope, Send

SHORTEST_TOKEN: Final = 16
DEFAULT_ACTOR: Final = "admin"


class AdminPath:
    """Answers requests that carry a token, and nobody else; without CORS, for no browser needs it.

    Args:
        tokens: the bearer token, or the name of each actor and its token.
        path: where it answers.
        status: what GET says.
        drain: what POST starts, given the actor.

    Raises:
        InvalidArgument, InvalidArgumentType: a token is too short, or no string.
    """

    def __init__(
        self,
        tokens: str | Mapping[str, str],
        path: str,
        *,
        status: Callable[[], dict[str, Any]],
        drain: Callable[[str], None],
    ) -> None:
        named = tokens if isinstance(tokens, Mapping) else {DEFAULT_ACTOR: tokens}
        self._tokens = {actor_name(actor): _checked(token) for actor, token in named.items()}
        if not self._tokens:
            raise InvalidArgument("admin_auth must name somebody; leave it out for no admin path")
        if not check_text(path, "admin_path", MAX_ROUTE).startswith("/"):
            raise InvalidArgument(f"admin_path must begin with a slash, not be {path!r}")
        self._path = path
        self._status = status
        self._drain = drain

    def answers(self, scope: Scope) -> bool:
        """Whether a request is for this path."""
        return bool(path_of(scope) == self._path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        response = await self._response(scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> HttpResponse:
        actor = self._actor(scope)
        if actor is None:
            return _said(401, {"error": "a bearer token is needed"}, ("www-authenticate", "Bearer"))
        if scope["method"] == "POST":
            self._drain(actor)
            await asyncio.sleep(0)  # it begins, and the answer says so
            return _said(202, self._status())
        if scope["method"] in {"GET", "HEAD"}:
            return _said(200, self._status())
        return _said(405, {"error": "GET or POST"}, ("allow", "GET, HEAD, POST"))

    def _actor(self, scope: Scope) -> str | None:
        """Whose token it is; every one is compared, so that time does not tell which is near."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, token = given.partition(b" ")
        found = None
        for actor, known in self._tokens.items():
            if hmac.compare_digest(token.strip(), known) and kind.lower() == b"bearer":
                found = actor
        return found


def _said(status: int, body: dict[str, Any], *headers: tuple[str, str]) -> HttpResponse:
    response = HttpResponse(status, msgspec.json.encode(body))
    plain = ("content-type", "application/json"), ("cache-control", "no-store")
    for name, value in (*plain, *headers):
        response.set_header(name, value)
    return response


def _checked(token: object) -> bytes:
    if not isinstance(token, str):
        raise InvalidArgumentType(f"an admin token must be a string, not {type(token).__name__}")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InvalidArgument(
            f"an admin token needs at least {SHORTEST_TOKEN} printable ASCII characters"
        )
    return token.encode()
