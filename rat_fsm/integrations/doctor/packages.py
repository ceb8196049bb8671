"""Which distributions that matter are installed, and how a server starts without options."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Final

import attrs

from rat_fsm.integrations.doctor.facts import SERVERS, UNLIMITED, Server

DISTRIBUTIONS: Final = (
    *SERVERS,
    "aiohttp",
    "fastapi",
    "sse-starlette",
    "starlette",
    "uvicorn-worker",
    "uvloop",
    "websockets",
)
# Of uvicorn 0.54, granian 2.8, hypercorn 0.18, gunicorn 27.0 and daphne 4.2.
_DEFAULTS: Final = {
    "uvicorn": Server(name="uvicorn", workers=1, timeout=UNLIMITED),
    "granian": Server(name="granian", workers=1, timeout=UNLIMITED),
    "hypercorn": Server(name="hypercorn", worker="asyncio", workers=1, timeout=3.0),
    "gunicorn": Server(name="gunicorn", workers=1, timeout=30.0),
    "daphne": Server(name="daphne", workers=1),
}


def installed() -> dict[str, str]:
    """Distribution → version, sorted, of those that the doctor knows and that are installed."""
    found = {name: version_of(name) for name in DISTRIBUTIONS}
    return {name: version for name, version in sorted(found.items()) if version}


@functools.cache  # reading metadata takes a millisecond each, on the loop that serves
def version_of(distribution: str) -> str:
    """The version of a distribution, empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def as_started(server: Server) -> Server:
    """A server as it is when it is started without options, but for what is known of it."""
    default = _DEFAULTS.get(server.name, server)
    return attrs.evolve(
        server,
        worker=server.worker or default.worker,
        workers=default.workers if server.workers is None else server.workers,
        timeout=default.timeout if server.timeout is None else server.timeout,
    )
