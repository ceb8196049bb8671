"""What a scope says of its request: whether it is a stream, whose it is, what may be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.integrations.serving.recorder import address_of

if TYPE_CHECKING:
    from rat_fsm.streaming.asgi import Scope

MAX_PATH: Final = 1024


def asks_for_events(scope: Scope) -> bool:
    """Whether a request accepts ``text/event-stream``, as every EventSource does."""
    return any(
        name == b"accept" and b"text/event-stream" in value.lower()
        for name, value in scope["headers"]
    )


def path_of(scope: Scope) -> str:
    """The path as the application knows it: without what a proxy has put before it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def client_of(scope: Scope) -> str:
    """The client's address; a Unix socket's has none."""
    return address_of(tuple(scope.get("client") or ()))


def about(scope: Scope) -> dict[str, Any]:
    """What is recorded of a request: never its query or its headers."""
    path = scope["path"][:MAX_PATH].encode("utf-8", "replace").decode()
    told = {"path": path, "http_version": scope.get("http_version", "1.1")}
    return {"method": scope["method"], **told} if "method" in scope else told
