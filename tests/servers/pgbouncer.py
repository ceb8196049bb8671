"""A pooler before a PostgreSQL server, where the system has one."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.harness import free_port
from tests.servers.postgres import HOST, OWNER, PASSWORD, PATIENCE, QUOTED, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN: Final = Path("/usr/sbin/pgbouncer")
_CONFIGURATION: Final = """
[databases]
* = host={host} port={server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
{more}
"""


def system_pooler() -> Path | None:
    """PgBouncer, where Debian's is installed."""
    found = shutil.which("pgbouncer")
    if found is not None:
        return Path(found)
    return DEBIAN if DEBIAN.exists() else None


@contextlib.contextmanager
def pooled(
    folder: Path, server: int, mode: str, *, size: int = 20, more: str = ""
) -> Iterator[str]:
    """The URL of a server's database through a pooler, which runs as long as the context.

    Args:
        folder: an empty folder that is the pooler's alone.
        server: the server's port.
        mode: ``session`` or ``transaction``.
        size: how many sessions with the server there are at most.
        more: other lines of its configuration.
    """
    program, port = system_pooler(), free_port()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{OWNER}" "{PASSWORD}"\n')
    configuration.write_text(
        _CONFIGURATION.format(
            host=HOST, server=server, port=port, users=users, mode=mode, size=size, more=more
        )
    )
    words, identity = unprivileged()
    with (
        (folder / "output.txt").open("wb") as output,
        subprocess.Popen(
            [*words, str(program), str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **identity,
        ) as process,
    ):
        try:
            url = f"postgresql://{OWNER}:{QUOTED}@{HOST}:{port}/postgres"
            _wait_until_it_answers(url)
            yield url
        finally:
            process.terminate()


def _wait_until_it_answers(url: str) -> None:
    import psycopg

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
