"""Rules about the process: signals, threads, the lifespan, the loop, workers, the log, proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.integrations.doctor.facts import Facts

DRAIN_FIRST: Final = (
    "ask for a drain before the server is told to end: rat-fsm drain URL, a POST to the admin "
    "path, or begin_drain(), such as in a preStop hook"
)


def _server(facts: Facts) -> Iterator[Finding]:
    if facts.server is None:
        yield Finding(
            "server_unknown",
            "note",
            "no server that the doctor knows is running, or installed",
            "run uvicorn, granian or hypercorn -w 0, or name the one you use: rat-fsm doctor "
            "--server NAME",
        )
    elif not facts.server.version:
        yield Finding(
            "version_unknown",
            "note",
            f"which version of {facts.server.name} will run is not known: it is not installed here",
            "run the doctor where the server runs",
        )


def _signals(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.name == "daphne":  # which has findings of its own
        return
    if not facts.signals:
        yield Finding(
            "signals_off",
            "warning",
            "the middleware was told signals=False: SIGTERM starts no drain",
            "call begin_drain() from your own handler, before the server hears of the signal, "
            "or leave signals on",
        )
    elif server.main_thread is False:
        yield Finding(
            "not_in_main_thread",
            "warning",
            f"{server.name} runs outside the main thread, where Python lets nobody hear "
            "signals: SIGTERM starts no drain",
            "call begin_drain(), or await drain(), before the server is stopped",
        )
    elif server.hears_signals:
        yield Finding(
            "signals_heard",
            "ok",
            "signals reach the application: a drain begins at SIGTERM and SIGINT"
            + ("" if server.main_thread else ", where the server runs in the main thread"),
        )
    elif server.name != "hypercorn":  # likewise
        yield Finding(
            "signals_unheard",
            "warning",
            "SIGTERM is ignored or handled outside Python here: it starts no drain",
            DRAIN_FIRST,
        )


def _lifespan(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is None or server.lifespan not in {"off", "absent"} or server.name == "daphne":
        return
    why = "is switched off" if server.lifespan == "off" else "never came"
    yield Finding(
        "no_lifespan",
        "warning",
        f"the ASGI lifespan {why}: signals are heard from the first request on, and the end of "
        "the server does not wait for the drain to be recorded",
        "switch it on (uvicorn --lifespan on, granian --interface asgi, gunicorn "
        "--asgi-lifespan on), and wrap the outermost application, not a mounted one",
    )


def _loop(facts: Facts) -> Iterator[Finding]:
    server = facts.server
    if server is not None and "trio" in {server.loop, server.worker}:
        yield Finding(
            "trio",
            "problem",
            f"{server.name} runs on trio; the middleware needs asyncio",
            "run it on asyncio or uvloop (hypercorn -k asyncio)",
        )


def _platform(facts: Facts) -> Iterator[Finding]:
    if facts.platform in {"win32", "cygwin"}:
        yield Finding(
            "windows",
            "warning",
            "rat_fsm is not tested on Windows, where no other process can send SIGTERM",
            f"try it before you rely on it, and {DRAIN_FIRST}",
        )


def _workers(facts: Facts) -> Iterator[Finding]:
    workers = None if facts.server is None else facts.server.workers
    if workers is None or workers <= 1:
        return
    yield Finding(
        "limits_per_process",
        "note",
        f"{workers} workers: max_connections, max_per_client and admission count in each of "
        "them, not together",
        f"divide what you allow in all by {workers}",
    )
    if facts.log == "shared":
        yield Finding(
            "log_shared",
            "ok",
            "the workers share one log, each as a writer of its own",
        )


def _log(facts: Facts) -> Iterator[Finding]:
    if facts.log != "memory":
        return
    workers = (facts.server.workers if facts.server else None) or 1
    owner = "each worker has a log of its own in its memory, which" if workers > 1 else "it"
    yield Finding(
        "log_in_memory",
        "warning" if workers > 1 else "note",
        f"the log is in memory: {owner} ends with the process, and rat-fsm drain cannot reach it",
        'give the middleware a manager with a log, as in EventLog.open("sqlite:events.db"), '
        "which the workers of one machine can share",
    )


def _proxies(facts: Facts) -> Iterator[Finding]:
    yield Finding(
        "proxy_buffering",
        "note",
        "a proxy in between may hold events back, and end a stream that is silent (nginx "
        "buffers, and its proxy_read_timeout is 60 s)",
        "answer with X-Accel-Buffering: no, or set proxy_buffering off; give the middleware a "
        "heartbeat well below the proxy's timeout",
    )
    limits = (
        "; max_per_client would count all clients as one where client_key goes by it"
        if facts.per_client
        else ""
    )
    yield Finding(
        "proxy_addresses",
        "note",
        f"behind a proxy each client has the proxy's address, unless the server trusts the "
        f"proxy's headers{limits}",
        _trusting(facts.server.name if facts.server else ""),
    )


def _trusting(server: str) -> str:
    return {
        "uvicorn": "uvicorn --forwarded-allow-ips with the proxy's address",
        "gunicorn": "gunicorn --forwarded-allow-ips with the proxy's address",
        "granian": "wrap the application: granian.utils.proxies.wrap_asgi_with_proxy_headers",
        "hypercorn": "wrap the application: hypercorn.middleware.ProxyFixMiddleware",
        "daphne": "daphne --proxy-headers",
    }.get(server, "let the server trust the headers of your proxy, and of nobody else")


RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _server,
    _signals,
    _lifespan,
    _loop,
    _platform,
    _workers,
    _log,
    _proxies,
)
