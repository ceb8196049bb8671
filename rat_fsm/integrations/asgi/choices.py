"""What an application chooses about its requests: which are streams, whose, and what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.runtime.arguments import MAX_KIND, check_text

if TYPE_CHECKING:
    from rat_fsm.streaming.asgi import Scope

Predicate = Callable[["Scope"], Any]
POLICIES: Final = ("close", "finish")


def asks_for_events(scope: Scope) -> bool:
    """Whether a request accepts ``text/event-stream``, as every EventSource does."""
    return any(
        name == b"accept" and b"text/event-stream" in value.lower()
        for name, value in scope["headers"]
    )


def kind_of(answer: Any) -> str | None:
    """What `streams` said about a request: its kind, None where it is no stream.

    Raises:
        InvalidArgumentType: it said something else.
    """
    if isinstance(answer, str):
        return check_text(answer, "the kind of a stream", MAX_KIND) or None
    if isinstance(answer, bool):
        return "sse" if answer else None
    raise InvalidArgumentType(
        f"streams must answer with a bool or the kind of stream, not {type(answer).__name__}"
    )


def predicate(value: Any, what: str) -> Any:
    """Something that can be called.

    Raises:
        InvalidArgumentType: it is none.
    """
    if not callable(value):
        raise InvalidArgumentType(f"{what} must be callable, not {type(value).__name__}")
    return value


def excluder(exclude: object) -> Predicate | None:
    """Whether a request is passed through untouched; None where none is.

    Raises:
        InvalidArgumentType: something is neither a path nor callable.
    """
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise InvalidArgumentType("exclude must be a sequence of paths or predicates")
    rules = [
        _below(rule) if isinstance(rule, str) else predicate(rule, "exclude") for rule in exclude
    ]
    return (lambda scope: any(rule(scope) for rule in rules)) if rules else None


def _below(path: str) -> Predicate:
    root = path.rstrip("/")
    return lambda scope: scope["path"] == path or scope["path"].startswith(f"{root}/")


def drain_policy(choice: object) -> Callable[[str, Scope], str]:
    """(route, scope) → close or finish.

    Raises:
        InvalidArgument, InvalidArgumentType: it says neither, or cannot.
    """
    if choice is None:
        return lambda _route, _scope: "close"
    if isinstance(choice, str):
        fixed = _policy(choice)
        return lambda _route, _scope: fixed
    if isinstance(choice, Mapping):
        table = {route: _policy(policy) for route, policy in choice.items()}
        return lambda route, scope: table.get(route) or table.get(scope["path"]) or "close"
    asked = predicate(choice, "on_drain")
    return lambda _route, scope: _policy(asked(scope) or "close")


def _policy(value: object) -> str:
    if value not in POLICIES:
        raise InvalidArgument(f"on_drain is close or finish, not {value!r}")
    return str(value)
