"""Finds out which server serves this process, by what called us and who hears SIGTERM."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.integrations.doctor.facts import SERVERS, UNLIMITED, Server
from rat_fsm.integrations.doctor.options import number, option, program, seconds
from rat_fsm.integrations.doctor.packages import as_started, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# What applications use of a server that need not be the one they run on.
_BORROWED: Final = frozenset({"middleware", "utils"})


@attrs.frozen
class Surroundings:
    """What can be seen from inside a process.

    Attributes:
        modules: those that called us, the nearest first.
        handler: who hears SIGTERM.
        argv: the command line.
        environ: the environment.
        child: whether `multiprocessing` started this process.
        main_thread: whether this is the main thread.
        loop: the event loop's kind.
    """

    modules: tuple[str, ...] = ()
    handler: Any = None
    argv: tuple[str, ...] = ()
    environ: Mapping[str, str] = attrs.field(factory=dict)
    child: bool = False
    main_thread: bool = True
    loop: str = ""

    @classmethod
    def here(cls) -> Surroundings:
        """Those of the caller; they tell most in the task of a lifespan or a request."""
        return cls(
            modules=tuple(_callers()),
            handler=_behind(signal.getsignal(signal.SIGTERM)),
            argv=tuple(sys.argv),
            environ=os.environ,
            child=multiprocessing.parent_process() is not None,
            main_thread=threading.current_thread() is threading.main_thread(),
            loop=_loop(),
        )


def running_server(scope: Mapping[str, Any] | None = None) -> Server | None:
    """The server that serves this process, None where there is none or it is not known.

    Args:
        scope: of the lifespan or request that is being served. A request says that no lifespan
            came before.
    """
    return server_in(Surroundings.here(), scope)


def server_in(here: Surroundings, scope: Mapping[str, Any] | None = None) -> Server | None:
    """The server that shows in what was seen."""
    name, worker = _named(here)
    if not name:
        return None
    seen = Server(
        name=name,
        version=version_of(name),
        worker=worker,
        lifespan=_lifespan(here, scope),
        main_thread=here.main_thread,
        signals=_hears(here, name),
        loop=here.loop,
    )
    return _WITH_NUMBERS[name](seen, here)


def _callers() -> Iterator[str]:
    frame = inspect.currentframe()
    while frame is not None:
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back


def _behind(handler: Any) -> Any:
    """The handler that ours stands in for, or the handler itself."""
    ours = type(handler).__module__.startswith("rat_fsm.")
    return getattr(handler, "previous", handler) if ours else handler


def _loop() -> str:
    try:
        return type(asyncio.get_running_loop()).__module__.split(".")[0]
    except RuntimeError:
        inside = getattr(getattr(sys.modules.get("trio"), "lowlevel", None), "in_trio_run", None)
        return "trio" if inside is not None and inside() else ""


def _named(here: Surroundings) -> tuple[str, str]:
    """The server's name, and that of its worker."""
    parts = [module.split(".") for module in here.modules]
    found = [names[0] for names in parts if _serves(names)]
    if not found:
        owner = type(getattr(here.handler, "__self__", None)).__module__.split(".")[0]
        found = [name for name in (owner, program(here.argv)) if name in SERVERS]
    if "gunicorn" in found:
        return "gunicorn", "uvicorn" if "uvicorn" in found else _gunicorn_worker(here)
    if found[:1] == ["hypercorn"]:
        trio = any(module.startswith("hypercorn.trio") for module in here.modules)
        return "hypercorn", "trio" if trio else "uvloop" if here.loop == "uvloop" else "asyncio"
    return (found[0] if found else ""), ""


def _serves(names: Sequence[str]) -> bool:
    return names[0] in SERVERS and _BORROWED.isdisjoint(names[1:2])


def _gunicorn_worker(here: Surroundings) -> str:
    return "asgi" if "gunicorn.workers.gasgi" in here.modules else ""


def _hears(here: Surroundings, name: str) -> bool:
    if not here.main_thread or here.handler in {None, signal.SIG_IGN}:
        return False
    # hypercorn's parent process has the handler, and tells its children by other means.
    return not (name == "hypercorn" and here.child and here.handler is signal.SIG_DFL)


def _lifespan(here: Surroundings, scope: Mapping[str, Any] | None) -> str | None:
    if scope is None:
        return None
    if scope.get("type") == "lifespan":
        return "on"
    return "off" if getattr(_uvicorns_config(here), "lifespan", None) == "off" else "absent"


def _uvicorns_config(here: Surroundings) -> Any:
    """The settings of uvicorn, whose server hears SIGTERM itself; None where none does."""
    owner = getattr(here.handler, "__self__", None)
    bases = {base.__module__.split(".")[0] for base in type(owner).__mro__}
    return getattr(owner, "config", None) if "uvicorn" in bases else None


def _uvicorn(seen: Server, here: Surroundings) -> Server:
    config = _uvicorns_config(here)
    if config is None:
        return seen
    patience = getattr(config, "timeout_graceful_shutdown", _UNSEEN)
    return attrs.evolve(
        seen,
        workers=_count(getattr(config, "workers", None)),
        timeout=UNLIMITED if patience is None else _amount(patience),
    )


def _gunicorn(seen: Server, here: Surroundings) -> Server:
    """The worker of uvicorn holds gunicorn's settings; elsewhere the command line must do."""
    notify = getattr(_uvicorns_config(here), "callback_notify", None)
    settings = getattr(getattr(notify, "__self__", None), "cfg", None)
    if settings is not None:
        return attrs.evolve(
            seen,
            workers=_count(getattr(settings, "workers", None)),
            timeout=_amount(getattr(settings, "graceful_timeout", None)),
        )
    if program(here.argv) != "gunicorn":
        return seen
    argv = [*shlex.split(here.environ.get("GUNICORN_CMD_ARGS", "")), *here.argv]
    workers = option(argv, "-w", "--workers") or here.environ.get("WEB_CONCURRENCY")
    told = attrs.evolve(
        seen,
        workers=number(workers),
        timeout=seconds(option(argv, "--graceful-timeout")),
    )
    configured = option(argv, "-c", "--config") or Path("gunicorn.conf.py").exists()
    return told if configured else as_started(told)


def _hypercorn(seen: Server, here: Surroundings) -> Server:
    if program(here.argv) != "hypercorn":  # served from a program of the user's own
        return attrs.evolve(seen, workers=None if here.child else 0)
    told = attrs.evolve(
        seen,
        workers=number(option(here.argv, "-w", "--workers")) if here.child else 0,
        timeout=seconds(option(here.argv, "--graceful-timeout")),
    )
    return told if option(here.argv, "-c", "--config") else as_started(told)


def _granian(seen: Server, here: Surroundings) -> Server:
    if program(here.argv) != "granian":
        return seen
    workers = option(here.argv, "--workers") or here.environ.get("GRANIAN_WORKERS")
    patience = option(here.argv, "--workers-kill-timeout") or here.environ.get(
        "GRANIAN_WORKERS_KILL_TIMEOUT"
    )
    return as_started(attrs.evolve(seen, workers=number(workers), timeout=seconds(patience)))


def _daphne(seen: Server, _: Surroundings) -> Server:
    return as_started(seen)


_UNSEEN: Final = object()
_WITH_NUMBERS: Final = {
    "uvicorn": _uvicorn,
    "gunicorn": _gunicorn,
    "hypercorn": _hypercorn,
    "granian": _granian,
    "daphne": _daphne,
}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value >= 0 else None
