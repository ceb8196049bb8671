"""Arrow and Parquet hold every event with its types, and tools nobody here wrote read them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given

from rat_fsm import EventLog, read_events
from rat_fsm.codec import hash_of
from rat_fsm.events import ActivityRecorded, Registered, UnknownEvent
from rat_fsm.exports import (
    Selection,
    arrow_schema,
    to_arrow,
    without_personal_data,
    write_arrow,
    write_parquet,
)
from rat_fsm.exports.arrow import ROWS
from rat_fsm.exports.selecting import EVERYTHING, selected
from rat_fsm.stores.memory import MemoryStore
from tests.cli.logs import HOSTILE, Ticking, a_life
from tests.exports.stores import frames_of, stores, written

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two writers."""
    return written(tmp_path / "events.db", "c1", "überall", writers=("w0", "w1"))


@given(store=stores())
def test_every_event_is_a_row(store: MemoryStore) -> None:
    """Envelope and payload are what the log says, whatever stands in it."""
    table = pa.Table.from_batches(to_arrow(store), arrow_schema())
    events = list(selected(store, EVERYTHING))
    assert table.num_rows == len(events)
    for row, recorded in zip(table.to_pylist(), events, strict=True):
        assert recorded.position is not None
        assert (row["position"], row["frame"]) == (str(recorded.position), recorded.position.frame)
        assert (row["recorded_at"], row["seq"], row["writer"]) == (
            *(recorded.at, recorded.seq, recorded.writer),
        )
        assert (row["lifecycle"], row["id"], row["born"]) == attrs.astuple(recorded.stream)
        assert (row["type"], row["version"]) == (recorded.type, recorded.version)
        event = recorded.event
        plain = event.data if isinstance(event, UnknownEvent) else attrs.asdict(event)
        assert json.loads(row["data"]) == json.loads(json.dumps(plain))


def test_the_columns() -> None:
    """Names and types are these: whoever has written SQL for them relies on it."""
    assert {field.name: str(field.type) for field in arrow_schema()} == {
        "position": "string",
        "frame": "int64",
        "recorded_at": "timestamp[us, tz=UTC]",
        "lifecycle": "string",
        "id": "string",
        "born": "string",
        "version": "int64",
        "writer": "string",
        "seq": "int64",
        "type": "string",
        "state_before": "string",
        "state": "string",
        "legal": "bool",
        "data": "string",
        "remote_addr": "string",
        "kind": "string",
        "route": "string",
        "bytes_sent": "int64",
        "messages_sent": "int64",
        "error_type": "string",
        "message": "string",
        "category": "string",
        "retryable": "bool",
        "attempt": "int64",
        "delay": "double",
        "cause": "string",
        "count": "int64",
        "waited": "double",
        "reason": "string",
        "ended_by": "string",
        "phase": "string",
        "code": "int64",
        "duration": "double",
    }
    assert arrow_schema().metadata == {b"rat_fsm": b"1"}


def test_fields_have_their_columns(path: Path) -> None:
    """A field fills its own column; totals that repeat activities do not, so that sums are true."""
    rows = pa.Table.from_batches(to_arrow(path)).to_pylist()
    by_type = {row["type"]: row for row in rows if row["id"] == "c1"}
    assert by_type["connection.registered"]["remote_addr"] == "10.0.0.1"
    assert by_type["connection.retry_scheduled"]["delay"] == 1.0
    assert by_type["connection.error_recorded"]["retryable"] is True
    assert (by_type["connection.closing"]["code"], by_type["connection.closing"]["route"]) == (
        *(1006, None),
    )
    closed = by_type["connection.closed"]
    assert (closed["bytes_sent"], closed["duration"]) == (None, 4.0)
    assert json.loads(closed["data"])["bytes_sent"] == 1500
    assert (closed["state_before"], closed["state"], closed["legal"]) == ("closing", "closed", True)
    assert sum(row["bytes_sent"] or 0 for row in rows) == 4 * 1500


def test_batches_are_bounded(tmp_path: Path) -> None:
    """A long log comes in batches, and Parquet has a row group for each."""
    with EventLog.open(tmp_path / "events.db") as log:
        log.append(("connection", "c1"), *[event for _, event in a_life("c1")[:2]])
        for _ in range(ROWS // 1000 + 1):
            log.append(("connection", "c1"), *[ActivityRecorded(1, 1)] * 1000)
    sizes = [batch.num_rows for batch in to_arrow(tmp_path / "events.db")]
    file = io.BytesIO()
    told = write_parquet(tmp_path / "events.db", file)
    assert sizes[0] == ROWS
    assert (told.parts, told.events) == (len(sizes), sum(sizes))
    assert pq.ParquetFile(file).num_row_groups == len(sizes)
    assert sum(sizes) == sum(1 for _ in read_events(tmp_path / "events.db"))


def test_the_same_in_both_files(path: Path) -> None:
    """An Arrow file holds what a Parquet file holds, and both what the batches do."""
    chosen = Selection(lifecycles=frozenset({"connection"}))
    parquet, arrow = io.BytesIO(), io.BytesIO()
    progress: list[int] = []
    assert write_parquet(path, parquet, chosen, progress=progress.append).events == 36
    assert write_arrow(path, arrow, chosen).parts == 1
    table = pa.Table.from_batches(to_arrow(path, chosen))
    assert pq.read_table(parquet) == table
    assert pa.ipc.open_file(arrow).read_all() == table
    assert progress == list(range(1, 41))


def test_an_empty_selection_is_a_file_with_columns(path: Path) -> None:
    """Where nothing was selected tools still find the schema."""
    file = io.BytesIO()
    assert write_parquet(path, file, Selection(lifecycles=frozenset({"order"}))).events == 0
    assert pq.read_table(file).schema == arrow_schema()


def test_integers_that_no_column_can_hold() -> None:
    """They are null in their column, and whole in the payload."""
    store, huge = MemoryStore(), 10**30
    with EventLog() as log:
        log.append(("connection", "c1"), *[event for _, event in a_life("c1")[:2]])
        log.append(("connection", "c1"), ActivityRecorded(1234567, 1))
        log.flush()
        (stored,) = frames_of(log.store)
    body = stored.frame.body.replace(b"1234567", str(huge).encode())
    frame = attrs.evolve(stored.frame, body=body)
    store.append(attrs.evolve(frame, hash=hash_of(frame)))
    row = pa.Table.from_batches(to_arrow(store)).to_pylist()[-1]
    assert (row["bytes_sent"], row["messages_sent"]) == (None, 1)
    assert json.loads(row["data"]) == {"bytes_sent": huge, "messages_sent": 1}


def test_personal_data_may_stay(path: Path) -> None:
    """A redacted export holds no address, no metadata and no message."""
    chosen = Selection(redact=without_personal_data)
    file = io.BytesIO()
    write_parquet(path, file, chosen)
    rows = pq.read_table(file).to_pylist()
    assert {row["remote_addr"] for row in rows if row["type"] == "connection.registered"} == {""}
    text = json.dumps(rows, default=str)
    assert not any(secret in text for secret in ("10.0.0.1", "browser", "reset by peer"))


def test_duckdb_reads_the_parquet(path: Path, tmp_path: Path) -> None:
    """Types are SQL's own, and questions are short."""
    duckdb = pytest.importorskip("duckdb")
    target = tmp_path / "events.parquet"
    with target.open("wb") as file:
        write_parquet(path, file)
    with duckdb.connect() as database:
        events = database.read_parquet(str(target))
        types = dict(zip(events.columns, map(str, events.types), strict=True))
        assert (types["recorded_at"], types["frame"], types["legal"], types["delay"]) == (
            *("TIMESTAMP WITH TIME ZONE", "BIGINT", "BOOLEAN", "DOUBLE"),
        )
        query = """
            SELECT id, sum(bytes_sent), count(*) FILTER (type = 'connection.error_recorded'),
                   any_value(reason), data ->> '$.reason' AS told
            FROM events GROUP BY id, told HAVING told IS NOT NULL ORDER BY id
        """
        assert [(row[0], row[3], row[4]) for row in database.sql(query).fetchall()] == [
            ("c1", "completed", "completed"),
            ("überall", "completed", "completed"),
        ]
        query = "SELECT epoch_us(min(recorded_at)), sum(bytes_sent), count(*) FROM events"
        log = list(read_events(path))
        assert database.sql(query).fetchall() == [(log[0].micros, 6000, len(log))]
        for name in events.columns:  # none of them needs quotes
            query = f"SELECT count({name}) FROM events GROUP BY {name} ORDER BY {name}"  # noqa: S608 - ours
            assert database.sql(query).fetchall()


def test_pandas_reads_both(path: Path, tmp_path: Path) -> None:
    """Times are aware timestamps, numbers numbers, and what is missing is missing."""
    pandas = pytest.importorskip("pandas")
    for name, write in (("events.parquet", write_parquet), ("events.arrow", write_arrow)):
        with (tmp_path / name).open("wb") as file:
            write(path, file)
    frame = pandas.read_parquet(tmp_path / "events.parquet")
    assert str(frame["recorded_at"].dtype) == "datetime64[us, UTC]"
    assert frame["bytes_sent"].sum() == 6000
    assert frame["delay"].count() == 4
    first = next(iter(read_events(path)))
    assert frame["recorded_at"].iloc[0].to_pydatetime() == first.at
    assert frame["legal"].all()
    pandas.testing.assert_frame_equal(pandas.read_feather(tmp_path / "events.arrow"), frame)


def test_hostile_text_is_kept(tmp_path: Path) -> None:
    """A column holds any text as it is: what shows it must see to that."""
    with EventLog.open(tmp_path / "events.db", clock=Ticking()) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1", HOSTILE, {"\0": "\ufffe"}))
    chosen = Selection(lifecycles=frozenset({"connection"}))
    row = pa.Table.from_batches(to_arrow(tmp_path / "events.db", chosen)).to_pylist()[0]
    assert row["kind"] == HOSTILE
    assert json.loads(row["data"])["metadata"] == {"\0": "\ufffe"}
