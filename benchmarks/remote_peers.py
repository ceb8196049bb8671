"""The `eventsourcing` library on the PostgreSQL that ours is measured on."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.events import require
from benchmarks.measure import module
from benchmarks.peers import stored_events

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class EventsourcingPostgres:
    """Its PostgreSQL application recorder, events of many streams a save.

    Attributes:
        functions: whether it inserts through functions in the database, as it can.
    """

    events: int
    batch: int
    url: str
    functions: bool

    @property
    def name(self) -> str:
        """With its batch size."""
        how = " by a function" if self.functions else ""
        return f"eventsourcing, {self.batch} a save{how}"

    def rate(self, _folder: Path) -> float:
        """Stores the events, one transaction a batch."""
        schema = f"eventsourcing_{uuid.uuid4().hex}"
        with module("psycopg").connect(self.url, autocommit=True) as connection:
            _require_synced(connection)
            connection.execute(f"CREATE SCHEMA {schema}")
            try:
                return self._run(schema)
            finally:
                connection.execute(f"DROP SCHEMA {schema} CASCADE")

    def _run(self, schema: str) -> float:
        postgres, persistence = (
            module("eventsourcing.postgres"),
            module("eventsourcing.persistence"),
        )
        store = postgres.PostgresDatastore(
            **_address(self.url), schema=schema, pool_size=1, enable_db_functions=self.functions
        )
        try:
            recorder = postgres.PostgresApplicationRecorder(store)
            recorder.create_table()
            started = time.perf_counter()
            for first in range(0, self.events, self.batch):
                size = min(self.batch, self.events - first)
                recorder.insert_events(stored_events(persistence, first, size))
            elapsed = time.perf_counter() - started
            require(recorder.max_notification_id(), self.events, self.name)
        finally:
            store.close()
        return self.events / elapsed


def _address(url: str) -> dict[str, Any]:
    """A URL as the library takes it, which does not let an empty password pass."""
    parts = module("psycopg.conninfo").conninfo_to_dict(url)
    names = {"host": "", "port": 5432, "user": "postgres", "dbname": "postgres", "password": "-"}
    return {name: parts.get(name, default) for name, default in names.items()}


def _require_synced(connection: Any) -> None:
    for setting in ("fsync", "synchronous_commit"):
        (found,) = connection.execute(f"SHOW {setting}").fetchone()
        require(found, "on", setting)
