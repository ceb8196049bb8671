"""What an application chooses about its requests: which are streams, whose, and what waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.runtime.arguments import MAX_KIND, check_text

# Of what an application knows its requests by: a scope, a request, a connection.
Predicate = Callable[[Any], Any]
PathOf = Callable[[Any], str]
POLICIES: Final = ("close", "finish")
_log: Final = logging.getLogger("rat_fsm")


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


def key_of(answer: Any) -> str | None:
    """What `client_key` said about a request: whose it is, None where no limit applies.

    Raises:
        InvalidArgumentType: it said something else.
    """
    if answer is None or isinstance(answer, str):
        return answer
    raise InvalidArgumentType(
        f"client_key must answer with a string or None, not {type(answer).__name__}"
    )


def predicate(value: Any, what: str) -> Any:
    """Something that can be called.

    Raises:
        InvalidArgumentType: it is none.
    """
    if not callable(value):
        raise InvalidArgumentType(f"{what} must be callable, not {type(value).__name__}")
    return value


def excluder(exclude: object, path_of: PathOf) -> Predicate | None:
    """Whether a request is passed through untouched; None where none is.

    Raises:
        InvalidArgumentType: something is neither a path nor callable.
    """
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise InvalidArgumentType("exclude must be a sequence of paths or predicates")
    rules = [_rule(rule, path_of) for rule in exclude]
    return (lambda request: any(rule(request) for rule in rules)) if rules else None


def _rule(rule: object, path_of: PathOf) -> Predicate:
    if isinstance(rule, str):
        return _below(_path(rule, "exclude"), path_of)
    return cast("Predicate", predicate(rule, "exclude"))


def _path(value: str, what: str) -> str:
    if not value.startswith("/"):
        raise InvalidArgument(f"{what} names a path, which begins with a slash, not {value!r}")
    return value


def _below(path: str, path_of: PathOf) -> Predicate:
    root = f"{path.rstrip('/')}/"

    def is_below(request: Any) -> bool:
        asked = path_of(request)
        return asked == path or asked.startswith(root)

    return is_below


def drain_policy(choice: object, path_of: PathOf) -> Callable[[str, Any], str]:
    """(route, request) → close or finish.

    Raises:
        InvalidArgument, InvalidArgumentType: it says neither, or cannot.
    """
    if choice is None:
        return lambda _route, _request: "close"
    if isinstance(choice, str):
        fixed = _policy(choice)
        return lambda _route, _request: fixed
    if isinstance(choice, Mapping):
        table = {_path(route, "on_drain"): _policy(policy) for route, policy in choice.items()}
        return lambda route, request: table.get(route) or table.get(path_of(request)) or "close"
    return _asking(predicate(choice, "on_drain"))


def _asking(ask: Predicate) -> Callable[[str, Any], str]:
    def policy(_route: str, request: Any) -> str:
        try:
            return _policy(ask(request) or "close")
        except Exception:  # noqa: BLE001 - a user's, and all others are to be drained as well
            _log.exception("on_drain failed: this stream is closed")
            return "close"

    return policy


def _policy(value: object) -> str:
    if value not in POLICIES:
        raise InvalidArgument(f"on_drain is close or finish, not {value!r}")
    return str(value)
