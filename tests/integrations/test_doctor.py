"""The doctor: what it finds in facts, in applications, and in a process."""

from __future__ import annotations

import json
import logging
import signal
import threading
from importlib import metadata
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from rat_fsm.errors import InvalidArgument
from rat_fsm.integrations.asgi import StreamingMiddleware
from rat_fsm.integrations.doctor import (
    LEVELS,
    SERVERS,
    UNLIMITED,
    Application,
    Facts,
    Finding,
    Layer,
    Report,
    Server,
    as_started,
    check_running,
    examine,
    inspect_application,
    installed,
    running_server,
)
from rat_fsm.integrations.doctor.detection import Surroundings, server_in
from rat_fsm.integrations.doctor.options import option, program, seconds
from rat_fsm.integrations.serving.signals import ChainedHandler

OURS: Final = Layer("StreamingMiddleware", "rat_fsm.integrations.asgi.middleware")
GZIP: Final = Layer("GZipMiddleware", "starlette.middleware.gzip")
TIMEOUTS: Final = frozenset({"drain_cut_by_server", "drain_cut_by_grace", "server_cut_by_grace"})

seconds_given = st.floats(0, 1e6) | st.integers(0, 100).map(float)
layers = st.builds(
    Layer,
    st.sampled_from(["App", "Starlette", "GZipMiddleware", "StreamingMiddleware", "\x1b[31m"]),
    st.sampled_from(["app", "starlette.middleware.gzip", "rat_fsm.integrations.asgi"]),
    st.lists(st.sampled_from(["BaseHTTPMiddleware", "FastAPI", "object"])).map(tuple),
)
applications = st.builds(
    Application, st.text(), st.lists(layers, max_size=4).map(tuple), st.booleans(), st.booleans()
)
versions = (
    st.sampled_from(["", "0.18.0", "0.43.0", "0.44.0rc1", "0.54.0", "27", "what"]) | st.text()
)
servers = st.builds(
    Server,
    name=st.sampled_from([*SERVERS, "another"]),
    version=versions,
    worker=st.sampled_from(["", "uvicorn", "asgi", "sync", "trio", "uvloop"]),
    workers=st.none() | st.integers(0, 64),
    lifespan=st.sampled_from(["on", "off", "absent", None]),
    main_thread=st.none() | st.booleans(),
    signals=st.none() | st.booleans(),
    loop=st.sampled_from(["", "asyncio", "uvloop", "trio"]),
    timeout=st.none() | seconds_given | st.just(UNLIMITED),
)
facts_given = st.builds(
    Facts,
    installed=st.dictionaries(st.sampled_from(["uvicorn", "starlette", "sse-starlette"]), versions),
    python=st.sampled_from(["3.11.7", "3.12.0", "3.13.1", ""]),
    platform=st.sampled_from(["linux", "win32", "darwin"]),
    server=st.none() | servers,
    application=st.none() | applications,
    drain_timeout=seconds_given,
    lame_duck=st.just(0.0) | seconds_given,
    grace=st.none() | seconds_given,
    signals=st.booleans(),
    log=st.sampled_from(["memory", "shared", None]),
    per_client=st.booleans(),
)


def found(facts: Facts) -> dict[str, str]:
    """Code → level of what is found."""
    return {finding.code: finding.level for finding in examine(facts).findings}


def finding(facts: Facts, code: str) -> Finding:
    """The finding with a code."""
    return next(finding for finding in examine(facts).findings if finding.code == code)


@given(facts_given)
def test_any_facts_can_be_examined(facts: Facts) -> None:
    """Whatever the facts, there is a report: the worst first, each code once, advice for each."""
    report = examine(facts)
    codes = [finding.code for finding in report.findings]
    ranks = [LEVELS.index(finding.level) for finding in report.findings]
    assert len(codes) == len(set(codes))
    assert ranks == sorted(ranks, reverse=True)
    assert [one.code for one in report.findings if one.level != "ok" and not one.advice] == []
    assert report.worst == report.findings[0].level
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["worst"] == report.worst


@given(
    name=st.sampled_from(["uvicorn", "granian", "gunicorn"]),
    drain=seconds_given,
    lame_duck=seconds_given,
    limit=seconds_given | st.just(UNLIMITED),
    grace=st.none() | seconds_given,
    heard=st.booleans(),
)
def test_the_order_of_the_timeouts(
    *, name: str, drain: float, lame_duck: float, limit: float, grace: float | None, heard: bool
) -> None:
    """A problem is found just where the drain, the server and SIGKILL do not end in this order.

    The server's clock starts with the drain's, except in uvicorn and where no signal is heard.
    """
    facts = Facts(
        server=Server(name=name, timeout=limit, signals=heard),
        drain_timeout=drain,
        lame_duck=lame_duck,
        grace=grace,
    )
    drained = lame_duck + drain
    after = name == "uvicorn" or not heard
    ended = drained + limit if after else limit
    in_time = after or drained < ended
    killed = grace is not None and (grace <= drained or (grace <= ended < UNLIMITED))
    problems = TIMEOUTS & found(facts).keys()
    assert bool(problems) == (not in_time or killed)
    assert ("timeouts_in_order" in found(facts)) == (in_time and not killed)


def test_the_numbers_are_told() -> None:
    """What is wrong with the timeouts is said with the numbers and the options to set."""
    facts = Facts(
        server=Server(name="granian", timeout=10.0), drain_timeout=30.0, lame_duck=5.0, grace=8.0
    )
    assert finding(facts, "drain_cut_by_server") == Finding(
        "drain_cut_by_server",
        "problem",
        "lame duck and drain need up to 5 + 30 = 35 s, and granian ends after 10 s: what is still "
        "served then is cut off, unannounced",
        "set --workers-kill-timeout to 40 or more, or drain_timeout and lame_duck to 5 or less "
        "together",
    )
    assert finding(facts, "drain_cut_by_grace") == Finding(
        "drain_cut_by_grace",
        "problem",
        "lame duck and drain need up to 5 + 30 = 35 s, and SIGKILL comes after 8 s: what is still "
        "served then is cut off, and the next start of the log has to end it",
        "set the grace period (terminationGracePeriodSeconds, TimeoutStopSec) to 45 or more, or "
        "drain_timeout and lame_duck to less",
    )
    uvicorn = Facts(server=Server(name="uvicorn", timeout=20.0), drain_timeout=30.0, grace=50.0)
    assert finding(uvicorn, "server_cut_by_grace") == Finding(
        "server_cut_by_grace",
        "problem",
        "the drain needs up to 30 s, uvicorn waits up to 20 s after the drain, 50 s in all, and "
        "SIGKILL comes after 50 s: the server does not get to its end, nor the lifespan to its "
        "shutdown",
        "set the grace period (terminationGracePeriodSeconds, TimeoutStopSec) to 55 or more, or "
        "--timeout-graceful-shutdown to less",
    )
    in_order = attrs.evolve(uvicorn, grace=50.5)
    assert finding(in_order, "timeouts_in_order").text == (
        "the drain needs up to 30 s, uvicorn waits 20 s from the end of it on, and SIGKILL comes "
        "after 50.5 s: in this order"
    )


def on(name: str, **known: Any) -> Facts:
    """Facts about a server and nothing else."""
    return Facts(python="3.11.7", server=Server(name=name, **known))


HAZARDS: Final = {
    "server_unknown": (Facts(), "note"),
    "version_unknown": (on("granian"), "note"),
    "signals_off": (attrs.evolve(on("uvicorn"), signals=False), "warning"),
    "not_in_main_thread": (on("uvicorn", main_thread=False), "warning"),
    "signals_unheard": (on("granian", signals=False), "warning"),
    "signals_heard": (on("granian", signals=True, main_thread=True), "ok"),
    "no_lifespan": (on("uvicorn", lifespan="off"), "warning"),
    "trio": (on("hypercorn", worker="trio", workers=0), "problem"),
    "windows": (Facts(platform="win32"), "warning"),
    "limits_per_process": (on("uvicorn", workers=4), "note"),
    "log_shared": (attrs.evolve(on("uvicorn", workers=4), log="shared"), "ok"),
    "log_in_memory": (attrs.evolve(on("uvicorn", workers=4), log="memory"), "warning"),
    "proxy_buffering": (Facts(), "note"),
    "proxy_addresses": (Facts(), "note"),
    "uvicorn_no_timeout": (on("uvicorn", timeout=UNLIMITED), "warning"),
    "uvicorn_disconnects": (on("uvicorn", version="0.43.0"), "note"),
    "uvicorn_silent": (on("uvicorn", version="0.45.0"), "ok"),
    "uvicorn_clock": (on("uvicorn", timeout=30.0), "note"),
    "granian_no_kill_timeout": (on("granian", timeout=UNLIMITED), "warning"),
    "granian_kills": (on("granian", timeout=60.0), "note"),
    "granian_drops_websockets": (attrs.evolve(on("granian"), lame_duck=1.0), "warning"),
    "granian_interface": (on("granian"), "note"),
    "hypercorn_worker_process": (on("hypercorn", workers=1), "problem"),
    "hypercorn_ignores_timeout": (
        attrs.evolve(on("hypercorn", workers=0, version="0.18.0"), python="3.12.1"),
        "warning",
    ),
    "hypercorn_close_codes": (on("hypercorn", workers=0), "note"),
    "daphne_drops_all": (on("daphne"), "problem"),
    "daphne_no_lifespan": (on("daphne", lifespan="absent"), "warning"),
    "gunicorn_worker_class": (on("gunicorn", worker="sync"), "problem"),
    "gunicorn_kills": (on("gunicorn", worker="uvicorn", timeout=30.0), "note"),
    "no_denial_response": (on("gunicorn", worker="asgi"), "note"),
    "lame_duck_holds": (attrs.evolve(on("uvicorn"), lame_duck=1.0), "ok"),
    "lame_duck_closed": (attrs.evolve(on("hypercorn", workers=0), lame_duck=1.0), "warning"),
    "drain_cut_by_server": (on("gunicorn", worker="uvicorn", timeout=30.0), "problem"),
    "drain_cut_by_grace": (attrs.evolve(on("uvicorn"), grace=30.0), "problem"),
    "server_cut_by_grace": (attrs.evolve(on("granian", timeout=31.0), grace=31.0), "problem"),
    "timeouts_in_order": (attrs.evolve(on("granian", timeout=31.0), grace=32.0), "ok"),
    "grace_unknown": (on("uvicorn"), "note"),
    "server_timeout_unknown": (on("uvicorn"), "note"),
    "middleware_missing": (Facts(application=Application("app:app")), "problem"),
    "middleware_mounted": (Facts(application=Application("app:app", mounted=True)), "warning"),
    "middleware_inside": (Facts(application=Application("app:app", (GZIP, OURS))), "warning"),
    "middleware_outermost": (
        Facts(application=Application("app:app", (Layer("FastAPI"), OURS, GZIP))),
        "ok",
    ),
    "base_http_middleware": (
        Facts(application=Application("app:app", (Layer("Mine", "", ("BaseHTTPMiddleware",)),))),
        "warning",
    ),
    "compressed_streams": (
        Facts(installed={"starlette": "0.45.3"}, application=Application("app:app", (OURS, GZIP))),
        "warning",
    ),
    "sse_starlette_leak": (Facts(installed={"sse-starlette": "3.1.1"}), "warning"),
    "sse_starlette": (Facts(installed={"sse-starlette": "3.7.0"}), "ok"),
}


@pytest.mark.parametrize("code", HAZARDS)
def test_hazards(code: str) -> None:
    """Each hazard is found where it is, at its level."""
    facts, level = HAZARDS[code]
    assert found(facts).get(code) == level


HARMLESS: Final = {
    "signals_heard": on("hypercorn", workers=2),
    "signals_unheard": on("hypercorn", signals=False),
    "no_lifespan": on("daphne", lifespan="absent"),
    "limits_per_process": on("uvicorn", workers=1),
    "uvicorn_no_timeout": on("uvicorn", timeout=10.0),
    "uvicorn_disconnects": on("uvicorn", version="0.45.0"),
    "uvicorn_clock": on("uvicorn", timeout=31.0),
    "granian_kills": on("granian", timeout=UNLIMITED),
    "granian_interface": on("granian", lifespan="on"),
    "hypercorn_worker_process": on("hypercorn", workers=0),
    "hypercorn_ignores_timeout": attrs.evolve(
        on("hypercorn", workers=0, worker="uvloop"), python="3.13.0"
    ),
    "gunicorn_worker_class": on("gunicorn", worker="asgi"),
    "lame_duck_closed": attrs.evolve(on("gunicorn", worker="uvicorn"), lame_duck=1.0),
    "lame_duck_holds": attrs.evolve(on("uvicorn", main_thread=False), lame_duck=1.0),
    "drain_cut_by_server": on("uvicorn", timeout=1.0),
    "middleware_inside": Facts(
        application=Application("app:app", (Layer("Mine", "", ("FastAPI",)), OURS))
    ),
    "middleware_outermost": Facts(application=Application("app:app", (OURS,), whole=False)),
    "compressed_streams": Facts(
        installed={"starlette": "0.46.0"}, application=Application("app:app", (OURS, GZIP))
    ),
}


@pytest.mark.parametrize("code", HARMLESS)
def test_what_is_no_hazard(code: str) -> None:
    """Nothing is found where there is nothing."""
    assert code not in found(HARMLESS[code])


def test_a_limit_that_hypercorn_ignores_is_none() -> None:
    """On Python 3.12 and later a graceful timeout of hypercorn cuts no drain short."""
    old = on("hypercorn", workers=0, version="0.18.0", timeout=3.0)
    assert found(old)["drain_cut_by_server"] == "problem"
    assert "drain_cut_by_server" not in found(attrs.evolve(old, python="3.12.0"))


def test_facts_are_checked() -> None:
    """Numbers that are none, and words that mean nothing, are refused."""
    with pytest.raises(InvalidArgument):
        Facts(grace=-1.0)
    with pytest.raises(InvalidArgument):
        Facts(drain_timeout=float("nan"))
    with pytest.raises(InvalidArgument):
        Facts(lame_duck=UNLIMITED)
    with pytest.raises(InvalidArgument):
        Facts(log="file")
    with pytest.raises(InvalidArgument):
        Server(name="uvicorn", timeout=float("nan"))
    with pytest.raises(InvalidArgument):
        Finding("code", "fatal", "text")


def test_a_report_without_findings() -> None:
    """Nothing found is ok."""
    assert Report(Facts()).worst == "ok"


def test_as_json() -> None:
    """A report is plain JSON; a server without limit says so in a word."""
    report = examine(Facts(server=Server(name="granian", timeout=UNLIMITED, workers=2)))
    plain = report.as_dict()
    assert (plain["worst"], plain["findings"][0]["code"]) == ("warning", "granian_no_kill_timeout")
    assert plain["facts"]["server"] == {
        "name": "granian",
        "version": "",
        "worker": "",
        "workers": 2,
        "lifespan": None,
        "main_thread": None,
        "signals": None,
        "loop": "",
        "timeout": "unlimited",
    }


# Applications.


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never called."""


class Outer:
    """A middleware that is plain ASGI."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Dispatching(BaseHTTPMiddleware):
    """One that is not."""


def names(app: Any) -> list[str]:
    """The layers of an application."""
    return [layer.name for layer in inspect_application(app).layers]


def test_layers_are_found() -> None:
    """Middlewares are found through what they wrap, and in Starlette's list."""
    inner = Starlette(middleware=[Middleware(Dispatching), Middleware(GZipMiddleware)])
    app = Outer(StreamingMiddleware(inner, drain_timeout=7.0, lame_duck=2.0, signals=False))
    application = inspect_application(app, "app:app")
    assert names(app) == [
        *("Outer", "StreamingMiddleware", "Starlette", "Dispatching", "GZipMiddleware")
    ]
    assert application.ours is not None
    assert application.ours.options == {
        "drain_timeout": 7.0,
        "lame_duck": 2.0,
        "signals": False,
        "log": "memory",
    }
    assert [layer.name for layer in application.outside] == ["Outer"]
    assert found(Facts(application=application, installed={"starlette": "1.10.0"})) == {
        "middleware_inside": "warning",
        "base_http_middleware": "warning",
        "server_unknown": "note",
        "proxy_buffering": "note",
        "proxy_addresses": "note",
        "grace_unknown": "note",
    }


def test_middlewares_that_are_added() -> None:
    """The one added last stands outermost, with what it was told."""
    app = Starlette()
    app.add_middleware(Dispatching)
    app.add_middleware(StreamingMiddleware, drain_timeout=5.0)
    application = inspect_application(app, "app:app")
    assert application.ours == Layer(
        *("StreamingMiddleware", StreamingMiddleware.__module__),
        ("StreamingMiddleware", "Recorder", "object"),
        {"drain_timeout": 5.0, "log": "memory"},
    )
    assert finding(Facts(application=application), "middleware_outermost").text == (
        "StreamingMiddleware is outermost in app:app"
    )


def test_a_mounted_middleware() -> None:
    """A middleware below a route is found there."""
    app = Starlette(
        routes=[Mount("/a", Starlette(routes=[Mount("/b", StreamingMiddleware(plain))]))]
    )
    assert inspect_application(app).mounted
    assert not inspect_application(Starlette(routes=[Mount("/a", plain)])).mounted


def test_an_application_that_wraps_itself() -> None:
    """Taking apart what never ends comes to an end."""
    app = Outer(None)
    app.app = app
    assert set(names(app)) == {"Outer"}


# Command lines.


def test_command_lines() -> None:
    """Options are read as the servers read them; the last one counts."""
    argv = ["/bin/granian", "--workers", "2", "-w4", "--workers-kill-timeout=1m30s", "-k"]
    assert program(argv) == "granian"
    assert program(["/lib/site-packages/uvicorn/__main__.py"]) == "uvicorn"
    assert program([]) == ""
    assert option(argv, "--workers", "-w") == "4"
    assert option(argv, "--workers") == "2"
    assert option(argv, "-k") == ""
    assert option(argv, "-q") is None
    texts = ("30", "2.5", "1m30s", "2h", "1d", "x", "", "m")
    assert [seconds(text) for text in texts] == [30, 2.5, 90, 7200, 86400, None, None, None]


@given(st.lists(st.text()), st.text())
def test_any_command_line_can_be_read(argv: list[str], text: str) -> None:
    """Whatever stands there, reading it does not fail."""
    program(argv)
    option(argv, "--workers", "-w")
    seconds(text)


def seen(*modules: str, **known: Any) -> Server:
    """The server that shows in what is given; its version and thread aside."""
    server = server_in(Surroundings(modules=modules, **{"handler": print, **known}))
    assert server is not None
    return attrs.evolve(server, version="", main_thread=None)


def test_servers_in_command_lines() -> None:
    """What a server was told shows in its command line and environment."""
    granian = ("granian", "--workers", "3", "--workers-kill-timeout", "1m")
    assert seen("app", "granian.asgi", argv=granian) == Server(
        name="granian", workers=3, signals=True, timeout=60.0
    )
    assert seen("granian.asgi", argv=("mine.py",)) == Server(name="granian", signals=True)
    environ = {"GRANIAN_WORKERS_KILL_TIMEOUT": "9", "GRANIAN_WORKERS": "2"}
    assert seen("granian.asgi", argv=("granian",), environ=environ) == Server(
        name="granian", workers=2, signals=True, timeout=9.0
    )
    gunicorn = ("gunicorn", "-w", "4")
    environ = {"GUNICORN_CMD_ARGS": "--graceful-timeout 50 -w 8"}
    assert seen("gunicorn.workers.gasgi", argv=gunicorn, environ=environ) == Server(
        name="gunicorn", worker="asgi", workers=4, signals=True, timeout=50.0
    )
    assert seen("gunicorn.workers.gasgi", argv=("gunicorn", "-c", "conf.py")) == Server(
        name="gunicorn", worker="asgi", signals=True
    )
    hypercorn = ("hypercorn", "-w", "2", "--graceful-timeout", "7")
    assert seen(
        "hypercorn.asyncio.run", argv=hypercorn, child=True, handler=signal.SIG_DFL
    ) == Server(name="hypercorn", worker="asyncio", workers=2, signals=False, timeout=7.0)
    assert seen("hypercorn.trio.run", argv=("hypercorn", "-c", "x")) == Server(
        name="hypercorn", worker="trio", workers=0, signals=True
    )


def test_who_serves() -> None:
    """The nearest server counts; what an application borrows of another does not."""
    assert seen("app", "hypercorn.middleware.proxy_fix", "uvicorn.lifespan.on").name == "uvicorn"
    assert seen("uvicorn.lifespan.on", "gunicorn.arbiter") == Server(
        name="gunicorn", worker="uvicorn", signals=True
    )
    assert server_in(Surroundings(modules=("app", "asyncio.events"))) is None
    assert running_server() is None


def test_signals_that_are_ignored() -> None:
    """Who ignores SIGTERM hears none."""
    assert seen("granian.asgi", handler=signal.SIG_IGN).signals is False
    assert seen("granian.asgi", handler=None).signals is False
    assert seen("granian.asgi", main_thread=False).signals is False


def test_a_chained_handler() -> None:
    """The server is found, with its settings, behind the handler that stands in for its own."""
    uvicorn = pytest.importorskip("uvicorn")
    config = uvicorn.Config(plain, timeout_graceful_shutdown=4, lifespan="off", workers=3)
    chained = ChainedHandler(uvicorn.Server(config).handle_exit, lambda *_: None)
    before = signal.signal(signal.SIGTERM, chained)
    try:
        server = running_server({"type": "http"})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert server == Server(
        name="uvicorn",
        version=metadata.version("uvicorn"),
        workers=3,
        lifespan="off",
        main_thread=True,
        signals=True,
        timeout=4.0,
    )


def test_a_chained_default() -> None:
    """Behind ours the handler is seen that was there, also one that is no function."""
    before = signal.signal(signal.SIGTERM, ChainedHandler(signal.SIG_DFL, lambda *_: None))
    try:
        handler = Surroundings.here().handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handler is signal.SIG_DFL


def test_outside_the_main_thread() -> None:
    """In another thread no signal is heard."""
    seen_there: list[Server | None] = []
    thread = threading.Thread(
        target=lambda: seen_there.append(
            server_in(attrs.evolve(Surroundings.here(), modules=("uvicorn.lifespan.on",)))
        )
    )
    thread.start()
    thread.join()
    assert seen_there[0] is not None
    assert (seen_there[0].main_thread, seen_there[0].signals) == (False, False)


def test_defaults_of_servers() -> None:
    """A server that is only named is as it starts without options; what is known stays."""
    assert as_started(Server(name="hypercorn")) == Server(
        name="hypercorn", worker="asyncio", workers=1, timeout=3.0
    )
    known = Server(name="gunicorn", worker="asgi", workers=2, timeout=1.0)
    assert as_started(known) == known
    assert as_started(Server(name="another")) == Server(name="another")


def test_what_is_installed() -> None:
    """Distributions are named with their versions."""
    versions = installed()
    assert versions["starlette"] == metadata.version("starlette")
    assert list(versions) == sorted(versions)


def test_checking_a_process(caplog: pytest.LogCaptureFixture) -> None:
    """What is found in a process is logged: warnings as such, the rest for those who debug."""
    caplog.set_level(logging.INFO, "rat_fsm")
    app = StreamingMiddleware(Outer(Dispatching(plain)))
    report = check_running({"type": "lifespan"}, app, drain_timeout=3.0, log="memory")
    assert [(record.levelname, record.message.split(";")[0]) for record in caplog.records] == [
        ("INFO", "served by an unknown server: 0 problems, 1 warnings"),
        ("WARNING", finding(report.facts, "base_http_middleware").text),
    ]
    assert (report.facts.drain_timeout, report.facts.installed) == (3.0, installed())


def test_a_check_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An application that cannot be looked at does not keep the server from starting."""

    class Broken:
        @property
        def app(self) -> Any:
            raise RuntimeError("boom")

    report = check_running({"type": "lifespan"}, Broken(), drain_timeout=3.0)
    assert (report.facts.server, report.facts.application) == (None, None)
    assert caplog.records[0].message == "what serves here could not be found out"
