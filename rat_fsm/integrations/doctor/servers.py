"""Rules about each server: what it does at its end, and to what it cannot be brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.doctor.facts import UNLIMITED, release_of
from rat_fsm.integrations.doctor.findings import Finding
from rat_fsm.integrations.doctor.surroundings import DRAIN_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.integrations.doctor.facts import Facts, Server

_STALLED: Final = "a client that stops reading cannot be cut off by an application"
_NO_DENIAL: Final = ("daphne", "asgi")


def _uvicorn(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or not server.runs_uvicorn:
        return
    if server.name == "uvicorn" and server.timeout == UNLIMITED:
        yield Finding(
            "uvicorn_no_timeout",
            "warning",
            f"uvicorn has no --timeout-graceful-shutdown: {_STALLED}, and would keep uvicorn "
            "from ending for ever",
            "start it with --timeout-graceful-shutdown as a backstop, such as 10: it counts from "
            "the end of the drain",
        )
    version = _uvicorn_version(facts, server)
    if release_of(version)[:2] in {(0, 43), (0, 44)}:
        yield Finding(
            "uvicorn_disconnects",
            "note",
            f"uvicorn {version} tells every streaming response http.disconnect when it ends; "
            "0.43 and 0.44 do, earlier and later versions do not",
            "upgrade to 0.45 or later, so that only the drain decides what ends and when",
        )
    elif version:
        yield Finding(
            "uvicorn_silent",
            "ok",
            f"uvicorn {version} tells HTTP streams nothing when it ends; the drain does, and "
            "uvicorn's own end waits for it",
        )


def _uvicorn_version(facts: Facts, server: Server) -> str:
    return server.version if server.name == "uvicorn" else facts.installed.get("uvicorn", "")


def _granian(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.name != "granian":
        return
    if server.timeout == UNLIMITED:
        yield Finding(
            "granian_no_kill_timeout",
            "warning",
            f"granian has no --workers-kill-timeout: {_STALLED}, and would keep granian from "
            "ending for ever",
            f"start it with --workers-kill-timeout above {facts.needed:g}, lame_duck and "
            "drain_timeout together",
        )
    elif server.timeout is not None:
        yield Finding(
            "granian_kills",
            "note",
            f"{server.timeout:g} s after the signal granian kills workers that are left: no "
            "finally block and no lifespan shutdown runs in them",
            "keep --workers-kill-timeout well above lame_duck and drain_timeout together",
        )
    yield Finding(
        "granian_drops_websockets",
        "warning" if facts.lame_duck else "note",
        "granian drops WebSockets by itself at the signal, without a close frame (clients see "
        "1006); a drain closes with 1012 those it reaches first"
        + (", and with a lame duck it reaches none" if facts.lame_duck else ""),
        DRAIN_FIRST,
    )
    yield Finding(
        "granian_backpressure",
        "note",
        "a granian worker serves 1024 requests at once, divided by the number of workers, and lets "
        "more wait without an answer: long streams fill that",
        "start it with --backpressure above the streams that a worker shall hold",
    )
    if server.lifespan is None:
        yield Finding(
            "granian_interface",
            "note",
            "granian speaks RSGI unless it is told otherwise",
            "start it with --interface asgi",
        )


def _hypercorn(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.name != "hypercorn":
        return
    if server.workers != 0 or server.signals is False:
        known = server.workers is not None or server.signals is False
        yield Finding(
            "hypercorn_worker_process",
            "problem" if known else "warning",
            "hypercorn serves in worker processes, also with -w 1, its default; SIGTERM to their "
            "parent starts no drain in them, and streams are cut off",
            "start it with -w 0 (or hypercorn.asyncio.serve() in your own process), or "
            + DRAIN_FIRST,
        )
    if ignores_graceful_timeout(facts, server):
        yield Finding(
            "hypercorn_ignores_timeout",
            "warning",
            f"{server.title} on Python {facts.python} waits for every connection before its "
            f"--graceful-timeout begins: {_STALLED}, and would keep hypercorn from ending for ever",
            "rely on the drain, and on SIGKILL at the end of the grace period; or run hypercorn "
            "-k uvloop, where the timeout holds",
        )
    yield Finding(
        "hypercorn_close_codes",
        "note",
        "hypercorn hands no close code of a WebSocket client on: each end reads as 1006, "
        "client_disconnect",
        "run uvicorn or granian where close codes matter",
    )


def ignores_graceful_timeout(facts: Facts, server: Server) -> bool:
    """Whether hypercorn waits without limit: asyncio's ``wait_closed`` does since Python 3.12."""
    return (
        server.name == "hypercorn"
        and server.release[:2] <= (0, 18)  # the latest that was tried; also where it is unknown
        and release_of(facts.python) >= (3, 12)
        and "uvloop" not in {server.worker, server.loop}
    )


def _daphne(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.name != "daphne":
        return
    yield Finding(
        "daphne_drops_all",
        "problem",
        "daphne drops every connection at SIGTERM, and tells the application nothing: a drain "
        "has no time",
        f"run another server, or {DRAIN_FIRST}",
    )
    yield Finding(
        "daphne_no_lifespan",
        "warning",
        "daphne has no lifespan: recording begins with the first request, and the log is closed "
        "when the interpreter exits",
        "open what the application needs when it is imported, or run another server",
    )


def _gunicorn(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.name != "gunicorn":
        return
    if server.worker not in {"uvicorn", "asgi"}:
        told = (
            f"gunicorn's {server.worker} workers cannot"
            if server.worker
            else "only some of gunicorn's workers can"
        )
        yield Finding(
            "gunicorn_worker_class",
            "problem" if server.worker else "warning",
            f"{told} run an ASGI application; the default, sync, cannot",
            "start it with -k uvicorn_worker.UvicornWorker (package uvicorn-worker), or with "
            "-k asgi from gunicorn 24 on",
        )
    if server.timeout is not None:
        yield Finding(
            "gunicorn_kills",
            "note",
            f"{server.timeout:g} s after the signal (--graceful-timeout) gunicorn kills workers "
            "that are left: no finally block and no lifespan shutdown runs in them",
            "keep --graceful-timeout well above lame_duck and drain_timeout together",
        )


def _denial(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is not None and (server.name in _NO_DENIAL or server.worker in _NO_DENIAL):
        where = server.name if server.name in _NO_DENIAL else f"gunicorn's {server.worker} worker"
        yield Finding(
            "no_denial_response",
            "note",
            f"{where} cannot answer a refused WebSocket with a status: it gets 403, without "
            "Retry-After",
            "let WebSocket clients back off by themselves, or run another server",
        )


def _lame_duck(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or not facts.lame_duck or not (server.hears_signals and facts.signals):
        return  # a drain that is asked for comes first, and its lame duck holds everywhere
    if server.runs_uvicorn:
        yield Finding(
            "lame_duck_holds",
            "ok",
            f"for {facts.lame_duck:g} s after the signal new connections are let in: uvicorn "
            "listens until the drain is over",
        )
    else:
        yield Finding(
            "lame_duck_closed",
            "warning",
            f"lame_duck={facts.lame_duck:g} lets nobody in on {server.name}, which stops "
            "listening at the signal",
            f"leave it at 0, or {DRAIN_FIRST}",
        )


RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _uvicorn,
    _granian,
    _hypercorn,
    _daphne,
    _gunicorn,
    _denial,
    _lame_duck,
)
