"""The doctor in real servers: which one it sees, how that was started, and whether signals come."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm.integrations.doctor import UNLIMITED, Server
from tests.processes import PATIENCE, PROJECT, untraced

if TYPE_CHECKING:
    from pathlib import Path

APP: Final = """
import json
from rat_fsm.integrations.doctor import running_server

async def app(scope, receive, send):
    print("SEEN " + json.dumps(running_server(scope).as_dict()), flush=True)
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""
THREADED: Final = """
import threading, uvicorn
from seen import app
config = uvicorn.Config(app, port=PORT, loop="asyncio")
thread = threading.Thread(target=uvicorn.Server(config).run)
thread.start()
thread.join()
"""
EMBEDDED: Final = """
import asyncio
from hypercorn.asyncio import serve
from hypercorn.config import Config
from seen import app
asyncio.run(serve(app, Config.from_mapping(bind="127.0.0.1:PORT")))
"""
UVICORN: Final = ("uvicorn", "seen:app", "--port", "PORT", "--loop", "asyncio")
HYPERCORN: Final = ("hypercorn", "seen:app", "-b", "127.0.0.1:PORT")
GRANIAN: Final = (
    *("granian", "seen:app", "--port", "PORT"),
    *("--interface", "asgi", "--loop", "asyncio"),
)
GUNICORN: Final = ("gunicorn", "seen:app", "-b", "127.0.0.1:PORT")
RUNNING: Final[dict[str, Any]] = {
    "lifespan": "on",
    "main_thread": True,
    "signals": True,
    "loop": "asyncio",
}
REAL: Final[dict[str, tuple[tuple[str, ...], Server]]] = {
    "uvicorn": (
        (*UVICORN, "--timeout-graceful-shutdown", "3"),
        Server(name="uvicorn", workers=1, timeout=3.0, **RUNNING),
    ),
    "uvicorn without options": (
        UVICORN,
        Server(name="uvicorn", workers=1, timeout=UNLIMITED, **RUNNING),
    ),
    "uvicorn with workers": (
        (*UVICORN, "--workers", "2"),
        Server(name="uvicorn", workers=2, timeout=UNLIMITED, **RUNNING),
    ),
    "uvicorn without lifespan": (
        (*UVICORN, "--lifespan", "off"),
        Server(name="uvicorn", workers=1, timeout=UNLIMITED, **{**RUNNING, "lifespan": "off"}),
    ),
    "uvicorn in a thread": (
        ("uvicorn", THREADED),
        Server(name="uvicorn", **{**RUNNING, "main_thread": False, "signals": False}),
    ),
    "granian": (
        (*GRANIAN, "--workers-kill-timeout", "4s"),
        Server(name="granian", workers=1, timeout=4.0, **RUNNING),
    ),
    "granian with workers": (
        (*GRANIAN, "--workers", "2"),
        Server(name="granian", workers=2, timeout=UNLIMITED, **RUNNING),
    ),
    "hypercorn -w 0": (
        (*HYPERCORN, "-w", "0", "--graceful-timeout", "5"),
        Server(name="hypercorn", worker="asyncio", workers=0, timeout=5.0, **RUNNING),
    ),
    "hypercorn -w 1": (
        HYPERCORN,
        Server(
            name="hypercorn",
            worker="asyncio",
            workers=1,
            timeout=3.0,
            **{**RUNNING, "signals": False},
        ),
    ),
    "hypercorn in a program": (
        ("hypercorn", EMBEDDED),
        Server(name="hypercorn", worker="asyncio", workers=0, **RUNNING),
    ),
    "daphne": (
        ("daphne", "seen:app", "-p", "PORT"),
        Server(name="daphne", workers=1, **{**RUNNING, "lifespan": "absent"}),
    ),
    "gunicorn with uvicorn": (
        (*GUNICORN, "-k", "uvicorn.workers.UvicornH11Worker", "--graceful-timeout", "6"),
        Server(name="gunicorn", worker="uvicorn", workers=1, timeout=6.0, **RUNNING),
    ),
    "gunicorn by itself": (
        (*GUNICORN, "-k", "asgi", "--asgi-loop", "asyncio", "-w", "2"),
        Server(name="gunicorn", worker="asgi", workers=2, timeout=30.0, **RUNNING),
    ),
}


def started(folder: Path, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    """A server in a folder; one argument after its name is a program that runs it."""
    (folder / "seen.py").write_text(APP)
    given = [argument.replace("PORT", str(port)) for argument in arguments]
    if len(given) == 2:
        (folder / "main.py").write_text(given[1])
        command = ["main.py"]
    else:
        command = ["-m", *given]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**untraced(), "PYTHONPATH": str(PROJECT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def what_it_saw(folder: Path, port: int, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the application printed first; it is asked until it has."""
    deadline = time.monotonic() + PATIENCE
    while True:
        output = (folder / "output").read_text(errors="replace")
        seen = [line for line in output.splitlines() if line.startswith("SEEN ")]
        if seen:
            plain: dict[str, Any] = json.loads(seen[0].removeprefix("SEEN "))
            return plain
        assert process.poll() is None, output
        assert time.monotonic() < deadline, output
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except OSError:
            time.sleep(0.05)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kills a server with the workers it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


@pytest.mark.slow
@pytest.mark.parametrize("case", REAL)
def test_real_servers(tmp_path: Path, port: int, case: str) -> None:
    """An application sees which server it runs on, and how that was started."""
    arguments, expected = REAL[case]
    for module in (
        arguments[0],
        *(["uvicorn.workers"] if "uvicorn.workers" in str(arguments) else []),
    ):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    process = started(tmp_path, port, *arguments)
    try:
        server = what_it_saw(tmp_path, port, process)
    finally:
        kill_session(process)
    version = metadata.version(arguments[0])
    assert server == attrs.evolve(expected, version=version).as_dict()
