"""Takes an ASGI application apart by its attributes, without importing any framework."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.integrations.doctor.facts import Application, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST: Final = 64
OPTIONS: Final = ("drain_timeout", "lame_duck", "signals")


def inspect_application(
    app: Any, name: str = "the application", *, whole: bool = True
) -> Application:
    """What an application is made of, as far as its attributes say.

    Args:
        app: the application, or the outermost middleware round it.
        name: as the user calls it.
        whole: whether it is what the server calls.
    """
    layers = tuple(_layers(app))
    mounted = not any(layer.is_ours for layer in layers) and _is_mounted(app, DEEPEST)
    return Application(name, layers, mounted, whole)


def _layers(app: Any) -> Iterator[Layer]:
    """From the outermost inwards; what Starlette will put round it stands where it will stand."""
    for one in _chain(app):
        yield _layer(
            type(one), {name: getattr(one, name, None) for name in (*OPTIONS, "log_place")}
        )
        for entry in _declared(one):
            cls, options = getattr(entry, "cls", None), getattr(entry, "kwargs", None)
            if inspect.isclass(cls):
                yield _layer(cls, options if isinstance(options, dict) else {})


def _chain(app: Any) -> Iterator[Any]:
    for _ in range(DEEPEST):  # also where something wraps itself
        yield app
        app = _wrapped(app)
        if app is None:
            return


def _wrapped(app: Any) -> Any:
    """What an application wraps, by the names that middlewares and Quart give it."""
    inner = getattr(app, "app", None) or getattr(app, "asgi_app", None)
    return None if inspect.ismethod(inner) or not callable(inner) else inner


def _declared(app: Any) -> Any:
    """The middlewares that a Starlette application was told of, the outermost first."""
    declared = getattr(app, "user_middleware", None)
    return declared if isinstance(declared, (list, tuple)) else ()


def _layer(cls: type, options: Mapping[str, Any]) -> Layer:
    layer = Layer(cls.__name__, cls.__module__, tuple(base.__name__ for base in cls.__mro__))
    return attrs.evolve(layer, options=_told(options)) if layer.is_ours else layer


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the middleware was told, in the words of `Facts`."""
    told = {name: options[name] for name in OPTIONS if options.get(name) is not None}
    place = options.get("log_place") or log_place(options.get("manager"), options.get("log"))
    return {**told, "log": place}


def log_place(manager: Any, log: Any) -> str:
    """Where connections are recorded: ``memory``, or ``shared`` with whoever opens the same log.

    Args:
        manager: the manager that a middleware was given, if it was.
        log: the log or URL that it was given instead; nothing is opened.
    """
    if manager is not None:
        log = getattr(manager, "log", None)
    durability = getattr(log, "durability", None)
    if durability is None:
        durability = "memory" if log is None or str(log).startswith("memory:") else ""
    return "memory" if durability == "memory" else "shared"


def _is_mounted(app: Any, depth: int) -> bool:
    """Whether the middleware stands somewhere below a route."""
    if depth == 0:
        return False
    for one in _chain(app):
        routes = getattr(one, "routes", None)
        for route in routes if isinstance(routes, (list, tuple)) else ():
            below = getattr(route, "app", None)
            if any(layer.is_ours for layer in _layers(below)) or _is_mounted(below, depth - 1):
                return True
    return False
