"""Finds the template of the route that serves a request, such as ``/rooms/{room}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.streaming.asgi import Scope

    Before = tuple[str, str, Any]


def route_of(app: Any, before: Before, scope: Scope) -> str:
    """The template that matched, with those of the mounts above it; empty where none is known.

    Args:
        app: the application that is wrapped.
        before: path, root path and ``scope["app"]`` as they were before it was called.
        scope: the scope as it has left it.
    """
    path, root_path, outer = before
    routes = _routes_of(app) or getattr(outer, "routes", None)
    if routes:
        found = _matching(routes, {**scope, "path": path, "root_path": root_path})
        if found is not None:
            return found
    # Litestar says it in as many words; a route object that others leave behind has a path.
    told = scope.get("path_template") or getattr(scope.get("route"), "path", "")
    return told if isinstance(told, str) else ""


def _routes_of(app: Any) -> Any:
    """The routes of an application, or of the one inside the middlewares around it."""
    seen: set[int] = set()
    while app is not None and id(app) not in seen:
        routes = getattr(app, "routes", None)
        if routes:
            return routes
        seen.add(id(app))
        app = getattr(app, "app", None)
    return None


def _matching(routes: Iterable[Any], scope: dict[str, Any]) -> str | None:
    """Asks Starlette's routes, as its router does, and goes on inside a mount."""
    for route in routes:
        matches = getattr(route, "matches", None)
        if matches is None:
            continue
        match, child = matches(scope)
        if getattr(match, "name", "") != "FULL":
            continue
        path, inner = getattr(route, "path", None), getattr(route, "routes", None)
        below = _matching(inner, {**scope, **child}) if inner else ""
        return f"{_included(scope) if path is None else path}{below or ''}"
    return None


def _included(scope: dict[str, Any]) -> str:
    """The template, prefixes included, that a router of FastAPI's has noted in the scope.

    There an included router is one route without a path, and its own routes know nothing
    of their prefix.
    """
    noted = scope.get("fastapi")
    context = noted.get("effective_route_context") if isinstance(noted, dict) else None
    path = getattr(getattr(context, "starlette_route", None) or context, "path", "")
    return path if isinstance(path, str) else ""
