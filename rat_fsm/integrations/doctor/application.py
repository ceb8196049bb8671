"""Rules about what is served: the middleware's place, and what else stands round the streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.doctor.facts import release_of
from rat_fsm.integrations.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.integrations.doctor.facts import Facts, Layer

COMPRESSING: Final = frozenset(
    {"GZipMiddleware", "BrotliMiddleware", "CompressMiddleware", "CompressionMiddleware"}
)
# Applications, which are no middleware though they stand round some.
FRAMEWORKS: Final = frozenset({"Starlette", "FastAPI", "Quart"})


def _place(facts: Facts) -> Iterator[Finding]:
    application = facts.application
    if application is None or not application.whole:
        return
    round_it = [layer.name for layer in application.outside if not _is(layer, FRAMEWORKS)]
    if application.ours is None and application.mounted:
        yield Finding(
            "middleware_mounted",
            "warning",
            f"StreamingMiddleware wraps an application that is mounted in {application.name}: no "
            "lifespan reaches it, and it records nothing else",
            "wrap the outermost application",
        )
    elif application.ours is None:
        yield Finding(
            "middleware_missing",
            "problem",
            f"StreamingMiddleware is nowhere round {application.name}: nothing is recorded, "
            "admitted or drained by itself",
            "wrap it: app = StreamingMiddleware(app), from rat_fsm.integrations.asgi",
        )
    elif round_it:
        yield Finding(
            "middleware_inside",
            "warning",
            f"StreamingMiddleware is within {', '.join(round_it)}: it sees what these let through, "
            "not what the server and the client do",
            "wrap the outermost application, or add it last where add_middleware is used",
        )
    else:
        yield Finding(
            "middleware_outermost",
            "ok",
            f"StreamingMiddleware is outermost in {application.name}",
        )


def _buffering(facts: Facts) -> Iterator[Finding]:
    found = [] if facts.application is None else facts.application.layers
    names = [layer.name for layer in found if "BaseHTTPMiddleware" in layer.bases]
    if names:
        yield Finding(
            "base_http_middleware",
            "warning",
            f"{', '.join(names)} derives from BaseHTTPMiddleware, which hands streams on through "
            "a queue: request.is_disconnected() behind it never turns true, whether a client has "
            "left or a drain has begun",
            "write it as a plain ASGI middleware, or exclude the paths of streams from it",
        )


def _compression(facts: Facts) -> Iterator[Finding]:
    inside = () if facts.application is None else facts.application.inside
    names = [layer.name for layer in inside if _compresses_events(layer, facts)]
    if names:
        yield Finding(
            "compressed_streams",
            "warning",
            f"{', '.join(names)} may compress event streams: nothing can be put into one, so that "
            "a drain ends it without its event and its retry time, and heartbeats are left out",
            "exclude text/event-stream from compression (Starlette's GZipMiddleware does from "
            "0.46 on)",
        )


def _compresses_events(layer: Layer, facts: Facts) -> bool:
    if not _is(layer, COMPRESSING):
        return False
    starlettes = layer.module.startswith("starlette.")
    return not starlettes or release_of(facts.installed.get("starlette", "")) < (0, 46)


def _is(layer: Layer, names: frozenset[str]) -> bool:
    return not names.isdisjoint({layer.name, *layer.bases})


def _sse_starlette(facts: Facts) -> Iterator[Finding]:
    version = facts.installed.get("sse-starlette")
    if version is None:
        return
    if version == "3.1.1":
        yield Finding(
            "sse_starlette_leak",
            "warning",
            "sse-starlette 3.1.1 leaves a task behind for every event stream (its issue 152)",
            "upgrade sse-starlette",
        )
    server = facts.server
    if server is not None and server.runs_uvicorn:
        text = "still finds uvicorn behind the signal handler, and ends its streams after the drain"
    else:
        text = "hears of the end of no server but uvicorn; the drain ends its streams like any"
    yield Finding("sse_starlette", "ok", f"sse-starlette {version} {text}")


RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _place,
    _buffering,
    _compression,
    _sse_starlette,
)
