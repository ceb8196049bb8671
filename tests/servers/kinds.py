"""The ways to run a server that the tests try, and what is peculiar to each."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, Final

import attrs
import pytest

from tests.servers.clients import HOST

APP: Final = "tests.servers.apps:app"
# What ends a server whose connections do not end: seconds, as long as each server can be told.
BACKSTOP: Final = 3


@attrs.frozen
class Kind:
    """A way to run a server.

    Attributes:
        name: as it stands in the names of tests.
        needs: the modules that must be installed for it.
        arguments: of ``python -m``; ``{port}`` is filled in.
        backstop: more of them, which end it ``BACKSTOP`` seconds after the signal.
        workers: how many processes serve.
        hears_once: whether a second signal is lost on the process that was started, as it only
            waits for its workers then.
        late: seconds until a worker hears of a signal to that process.
        endless: whether its own timeout does not end it while a client takes nothing.
    """

    name: str
    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    backstop: tuple[str, ...]
    workers: int = 1
    hears_once: bool = False
    late: float = 0.0
    endless: bool = False

    @property
    def family(self) -> str:
        """The server's name without the way it runs."""
        return self.needs[0]

    def skip_unless_installed(self) -> None:
        """Skips the test where something it needs is missing."""
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed")


def _uvicorn(name: str, *arguments: str, needs: tuple[str, ...], **more: Any) -> Kind:
    common = ("uvicorn", APP, "--host", HOST, "--port", "{port}", "--no-access-log")
    backstop = ("--timeout-graceful-shutdown", str(BACKSTOP))
    return Kind(name, ("uvicorn", *needs), (*common, *arguments), backstop, **more)


UVICORN: Final = _uvicorn("uvicorn", needs=("websockets",))
UVICORN_H11: Final = _uvicorn(
    "uvicorn-h11",
    *("--http", "h11", "--loop", "asyncio", "--ws", "wsproto"),
    needs=("h11", "wsproto"),
)
UVICORN_HTTPTOOLS: Final = _uvicorn(
    "uvicorn-httptools",
    *("--http", "httptools", "--ws", "websockets-sansio"),
    needs=("httptools", "websockets"),
)
# Its parent process looks at the signals it got twice a second.
UVICORN_WORKERS: Final = _uvicorn(
    "uvicorn-workers",
    *("--workers", "2"),
    needs=("websockets",),
    workers=2,
    hears_once=True,
    late=0.5,
)
GRANIAN: Final = Kind(
    "granian",
    ("granian",),
    ("granian", "--interface", "asgi", "--host", HOST, "--port", "{port}", APP),
    ("--workers-kill-timeout", str(BACKSTOP)),
    hears_once=True,
)
# With worker processes its master hears the signal and the application never does.
HYPERCORN: Final = Kind(
    "hypercorn",
    ("hypercorn",),
    ("hypercorn", "-w", "0", "-b", f"{HOST}:{{port}}", APP),
    ("--graceful-timeout", str(BACKSTOP)),
    # https://github.com/pgjones/hypercorn/issues/308
    endless=sys.version_info >= (3, 12),
)
KINDS: Final = (UVICORN_H11, UVICORN_HTTPTOOLS, UVICORN_WORKERS, GRANIAN, HYPERCORN)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
