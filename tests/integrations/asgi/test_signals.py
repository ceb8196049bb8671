"""SIGTERM and SIGINT beside a server's own handlers; what ends processes runs in its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvicorn

from rat_fsm.integrations.serving.signals import ChainedHandler, SignalChain
from tests.processes import PATIENCE, PROJECT, untraced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD: Final = """
import asyncio, os, signal, sys
from rat_fsm.integrations.serving.signals import SignalChain
said = []

def drained(name, then):
    print("drain", name, flush=True)
    asyncio.get_running_loop().call_later(0.1, then)

async def main():
    chain = SignalChain(drained, lambda: print("insist", flush=True))
    print("installed", chain.install(asyncio.get_running_loop()), flush=True)
"""
KILL: Final = "    os.kill(os.getpid(), signal.SIGTERM)\n"


def run(before: str, after: str) -> tuple[int, list[str]]:
    """Return code and lines of a process that gets SIGTERM while it serves."""
    body = "".join(f"    {line}\n" for line in after.splitlines())
    return execute(f"import signal\n{before}\n{HEAD}{KILL}{body}\nasyncio.run(main())\n")


def execute(script: str) -> tuple[int, list[str]]:
    """Return code and lines of a process."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=PROJECT,
        env=untraced(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_process_without_handlers() -> None:
    """It drains, and then ends by the signal, as it would have."""
    code, lines = run("", "await asyncio.sleep(30)\nprint('in vain')")
    assert (code, lines) == (-signal.SIGTERM, ["installed True", "drain SIGTERM"])


def test_a_second_signal() -> None:
    """It insists."""
    after = "await asyncio.sleep(0.01)\nos.kill(os.getpid(), signal.SIGTERM)\n"
    code, lines = run("", f"{after}await asyncio.sleep(30)")
    assert (code, lines) == (-signal.SIGTERM, ["installed True", "drain SIGTERM", "insist"])


def test_a_signal_that_is_ignored() -> None:
    """It stays ignored, as under nohup."""
    code, lines = run(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "await asyncio.sleep(0.2)\nprint('on')"
    )
    assert (code, lines) == (0, ["installed True", "on"])


def test_a_handler_of_somebody_else() -> None:
    """It is called at once, and the drain goes on beside it."""
    before = "signal.signal(signal.SIGTERM, lambda number, frame: print('theirs', number))"
    code, lines = run(before, "await asyncio.sleep(0.3)\nprint('end')")
    assert (code, lines) == (0, ["installed True", "theirs 15", "drain SIGTERM", "end"])


def test_a_handler_of_uvicorns() -> None:
    """It is called when the drain is over: that server waits for nothing it does not know."""
    before = (
        "import uvicorn\n"
        "class Server(uvicorn.Server):\n"
        "    def handle_exit(self, sig, frame): print('uvicorn', sig, flush=True)\n"
        "server = Server(uvicorn.Config('x:y'))\n"
        "signal.signal(signal.SIGTERM, server.handle_exit)\n"
    )
    after = (
        "await asyncio.sleep(0.05)\nprint('waits', flush=True)\nawait asyncio.sleep(0.2)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nawait asyncio.sleep(0)\n"
        "assert signal.getsignal(signal.SIGTERM).__self__ is server\n"
        "chain.restore()\n"
        "assert signal.getsignal(signal.SIGTERM) == server.handle_exit"
    )
    code, lines = run(before, after)
    told = ["installed True", "drain SIGTERM", "waits", "uvicorn 15", "uvicorn 15"]
    assert (code, lines) == (0, told)


def test_a_loop_that_is_closed() -> None:
    """Nobody is left to drain: the process ends as it would have."""
    end = "os.kill(os.getpid(), signal.SIGTERM)"
    script = f"{HEAD}\nasyncio.run(main())\n{end}\nprint('in vain')\n"
    code, lines = execute(script)
    assert (code, lines) == (-signal.SIGTERM, ["installed True"])


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts pytest's own handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Server:
    """Something with a handler that is a method."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def handle_exit(self, number: int, _frame: Any) -> None:
        """Takes the signal."""
        self.heard.append(number)


def _never(*_arguments: Any) -> None:
    pytest.fail("nobody sent a signal")


def chain() -> SignalChain:
    """A chain that is only put in and taken out."""
    return SignalChain(_never, _never)


@pytest.mark.usefixtures("restored")
def test_a_library_that_looks_for_the_server() -> None:
    """It finds the server behind our handler, as sse-starlette does."""
    server = Server()
    signal.signal(signal.SIGTERM, server.handle_exit)
    handler = chain()
    assert _installed(handler)
    found = signal.getsignal(signal.SIGTERM)
    assert isinstance(found, ChainedHandler)
    assert found.__self__ is server
    assert (found.__func__, found.__name__) == (Server.handle_exit, "handle_exit")


def _installed(handler: SignalChain) -> bool:
    loop = asyncio.new_event_loop()
    try:
        return handler.install(loop)
    finally:
        loop.close()


@pytest.mark.usefixtures("restored")
def test_a_handler_that_is_no_method() -> None:
    """It has no server behind it, and says so as a function does."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    _installed(chain())
    found = signal.getsignal(signal.SIGTERM)
    assert not hasattr(found, "__self__")


@pytest.mark.usefixtures("restored")
def test_installing_and_restoring() -> None:
    """It is put in once however often it is installed, and everything is as before afterwards."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    handler = chain()
    assert _installed(handler)
    first = signal.getsignal(signal.SIGTERM)
    assert _installed(handler)
    assert signal.getsignal(signal.SIGTERM) is first
    handler.restore()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert not handler.installed


@pytest.mark.usefixtures("restored")
def test_a_handler_that_came_after_ours() -> None:
    """It stays where it is."""
    handler = chain()
    _installed(handler)
    later = Server().handle_exit
    signal.signal(signal.SIGTERM, later)
    handler.restore()
    assert signal.getsignal(signal.SIGTERM) == later


@pytest.mark.usefixtures("restored")
def test_a_handler_that_calls_ours() -> None:
    """It may do so after ours was taken out, and reaches what was there before."""
    server, handler = Server(), chain()
    signal.signal(signal.SIGTERM, server.handle_exit)
    _installed(handler)
    ours: Any = signal.getsignal(signal.SIGTERM)

    def theirs(number: int, frame: Any) -> None:
        ours(number, frame)

    signal.signal(signal.SIGTERM, theirs)
    handler.restore()
    signal.raise_signal(signal.SIGTERM)
    assert server.heard == [signal.SIGTERM]


def test_another_thread() -> None:
    """Python sets no handlers there, and nothing fails."""
    answers: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: answers.append(_installed(chain())))
    thread.start()
    thread.join(PATIENCE)
    assert answers == [False]
    assert signal.getsignal(signal.SIGTERM) is before


class Uvicorn(uvicorn.Server):
    """Its handler is one that is called after a drain."""

    def __init__(self) -> None:
        super().__init__(uvicorn.Config("x:y"))
        self.heard: list[int] = []

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002 - uvicorn's signature
        """Takes the signal."""
        self.heard.append(sig)


@pytest.mark.usefixtures("restored")
def test_two_chains() -> None:
    """Two applications in one process drain at the same time; then the server hears of it."""
    begun: dict[str, Callable[[], None]] = {}

    def note(name: str) -> Callable[[str, Callable[[], None]], None]:
        def drain(_signal: str, then: Callable[[], None]) -> None:
            begun[name] = then

        return drain

    async def main() -> None:
        server = Uvicorn()
        signal.signal(signal.SIGTERM, server.handle_exit)
        chains = [SignalChain(note(name), _never) for name in ("first", "second")]
        for each in chains:
            assert each.install(asyncio.get_running_loop())
        signal.raise_signal(signal.SIGTERM)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (sorted(begun), server.heard) == (["first", "second"], [])
        for then in begun.values():
            then()
        assert server.heard == [signal.SIGTERM]
        for each in reversed(chains):
            each.restore()
        assert signal.getsignal(signal.SIGTERM) == server.handle_exit

    asyncio.run(main())
