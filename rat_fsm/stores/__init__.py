"""Where frames are kept, chosen by URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rat_fsm.errors import InvalidArgument

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store


def open_store(url: str | Path, *, writable: bool = False) -> Store:
    """Opens the store at a URL.

    * ``memory:``
    * ``sqlite:PATH``, or a bare path
    * ``postgresql://[user[:password]@]host[:port][,…]/database[?schema=…&lease=…]``, with all that
      libpq knows
    * ``nats://host:port[,host:port…]/stream[?option=value…]``, for NATS JetStream

    Read-only unless ``writable``; read-only creates, claims and recovers nothing. A `Path` is
    never taken for a URL, whatever it looks like.

    Raises:
        InvalidArgument: the scheme is unknown, or there is no path.
        StoreUnreadable: there is no log at this address, or it may not be read, or it is
            something else.
        UnsupportedFormat: a newer rat_fsm made it.
        MissingExtra: what speaks to its server is not installed.
    """
    if isinstance(url, Path):
        return _open_sqlite(str(url), writable=writable)
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon and not rest:
        from rat_fsm.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "nats" and colon:
        return _open_nats(url, writable=writable)
    if scheme in {"postgresql", "postgres"} and colon:
        return _open_postgres(url, writable=writable)
    if colon and scheme != "sqlite" and "/" not in scheme and len(scheme) > 1:
        raise InvalidArgument(
            f"no store for {scheme + ':'!r}; use memory:, sqlite:PATH, postgresql://…, nats://… or "
            "a path to a SQLite file"
        )
    return _open_sqlite(rest if scheme == "sqlite" and colon else url, writable=writable)


def _open_sqlite(path: str, *, writable: bool) -> Store:
    if not path or "\0" in path:
        raise InvalidArgument(f"{path!r} is no path to a SQLite file")
    from rat_fsm.stores.sqlite import SqliteStore

    return SqliteStore(path, writable=writable)


def _open_nats(url: str, *, writable: bool) -> Store:
    from rat_fsm.stores.nats import NatsStore
    from rat_fsm.stores.nats.address import parse

    return NatsStore(parse(url), writable=writable)


def _open_postgres(url: str, *, writable: bool) -> Store:
    from rat_fsm.stores.postgres import PostgresStore

    return PostgresStore(url, writable=writable)
