"""Events as Arrow record batches and Parquet files, with columns that SQL likes.

A row is an event. Besides its envelope and its state there is a column for each field that
questions are usually about, null where an event does not have it::

    position  frame  recorded_at  lifecycle  id  born  version  writer  seq  type  the envelope
    state_before  state  legal                             what it did to its stream
    data                                                    all of its payload, as JSON
    remote_addr  kind  route  bytes_sent  messages_sent  error_type  message  …

``ORDER BY frame, seq`` is the order of the log. ``born`` tells the lives of an id apart.
``bytes_sent`` and ``messages_sent`` are filled for activities only, so that their sums are what
was sent: the totals that ``connection.closed`` repeats stand in ``data``.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from rat_fsm import events
from rat_fsm.codec import MAX_INTEGER
from rat_fsm.errors import MissingExtra
from rat_fsm.exports.pages import pages
from rat_fsm.exports.payloads import payload_json
from rat_fsm.exports.selecting import EVERYTHING, Exported
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rat_fsm.exports.pages import Page, Row
    from rat_fsm.exports.selecting import Progress, Selection
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.table import Lifecycle

VERSION: Final = 1
ROWS: Final = 20_000
_INT: Final = "int64"
_FLOAT: Final = "double"
_TEXT: Final = "string"
_BOOL: Final = "bool"
_TIME: Final = "time"
_ENVELOPE: Final = {
    "position": _TEXT,
    "frame": _INT,
    "recorded_at": _TIME,
    "lifecycle": _TEXT,
    "id": _TEXT,
    "born": _TEXT,
    "version": _INT,
    "writer": _TEXT,
    "seq": _INT,
    "type": _TEXT,
    "state_before": _TEXT,
    "state": _TEXT,
    "legal": _BOOL,
    "data": _TEXT,
}
_FIELDS: Final[Mapping[str, tuple[str, list[type]]]] = {
    "remote_addr": (_TEXT, [events.Registered]),
    "kind": (_TEXT, [events.Registered]),
    "route": (_TEXT, [events.Activated]),
    "bytes_sent": (_INT, [events.ActivityRecorded]),
    "messages_sent": (_INT, [events.ActivityRecorded]),
    "error_type": (_TEXT, [events.ErrorRecorded]),
    "message": (_TEXT, [events.ErrorRecorded]),
    "category": (_TEXT, [events.ErrorRecorded, events.RetryScheduled]),
    "retryable": (_BOOL, [events.ErrorRecorded]),
    "attempt": (_INT, [events.RetryScheduled]),
    "delay": (_FLOAT, [events.RetryScheduled]),
    "cause": (_TEXT, [events.RetryRefused, events.ConnectionRefused]),
    "count": (_INT, [events.ConnectionRefused]),
    "waited": (_FLOAT, [events.Stalled, events.Unstalled]),
    "reason": (_TEXT, [events.Closing, events.Closed]),
    "ended_by": (_TEXT, [events.Closing]),
    "phase": (_TEXT, [events.Closing]),
    "code": (_INT, [events.Closing]),
    "duration": (_FLOAT, [events.Closed]),
}
_COLUMNS: Final = {**_ENVELOPE, **{name: kind for name, (kind, _) in _FIELDS.items()}}
_NOTHING: Final = [None] * len(_FIELDS)


def _filled() -> dict[type, list[tuple[int, str]]]:
    """Event class → the number and the name of each column it fills."""
    found: dict[type, list[tuple[int, str]]] = {}
    for number, (name, (_, classes)) in enumerate(_FIELDS.items(), len(_ENVELOPE)):
        for cls in classes:
            found.setdefault(cls, []).append((number, name))
    return found


_FILLED: Final = _filled()


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as problem:
        raise MissingExtra("exporting Arrow or Parquet", "export") from problem
    return pa


def arrow_schema() -> Any:
    """The `pyarrow.Schema` of every batch, Arrow file and Parquet file.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    pa = _pyarrow()
    kinds = {_TIME: pa.timestamp("us", tz="UTC")}
    fields = [(name, kinds.get(kind) or pa.type_for_alias(kind)) for name, kind in _COLUMNS.items()]
    return pa.schema(fields, metadata={"rat_fsm": str(VERSION)})


def to_arrow(
    source: LogSource,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Iterator[Any]:
    """The events as `pyarrow.RecordBatch`es of at most 20 000 rows with the `arrow_schema`.

    Args:
        source: the log.
        selection: which events; states are those of the whole log in any case.
        lifecycles: how events are read; CONNECTION and NODE by default, with the events of
            others as they were written.
        progress: called with the position of each frame that was read.

    Raises:
        MissingExtra: pyarrow is not installed.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
    """
    schema = arrow_schema()
    with opened(source) as store:
        found = pages(store, selection, lifecycles, progress)
        rows = (_values(page, row) for page in found for row in page.rows)
        while some := list(islice(rows, ROWS)):
            yield _batch(schema, some)


def write_parquet(
    source: LogSource,
    file: BinaryIO,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Writes the events as a Parquet file, a row group for each batch; see `to_arrow`."""
    writer = _pyarrow().parquet.ParquetWriter(file, arrow_schema(), compression="zstd")
    return _write(writer, to_arrow(source, selection, lifecycles=lifecycles, progress=progress))


def write_arrow(
    source: LogSource,
    file: BinaryIO,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Writes the events as an Arrow IPC file, which is also called Feather; see `to_arrow`."""
    writer = _pyarrow().ipc.new_file(file, arrow_schema())
    return _write(writer, to_arrow(source, selection, lifecycles=lifecycles, progress=progress))


def _write(writer: Any, batches: Iterator[Any]) -> Exported:
    rows = written = 0
    with writer:
        for batch in batches:
            writer.write_batch(batch)
            rows, written = rows + batch.num_rows, written + 1
    return Exported(rows, written)


def _values(page: Page, row: Row) -> list[Any]:
    event, stream = row.event, row.stream
    values = [
        f"{page.position}.{row.offset}",
        page.position,
        row.micros,
        stream.lifecycle,
        stream.id,
        stream.born,
        row.version,
        page.writer,
        page.first + row.offset,
        row.type,
        row.before,
        row.after,
        row.legal,
        payload_json(event),
        *_NOTHING,
    ]
    for number, name in _FILLED.get(type(event), ()):
        values[number] = getattr(event, name)
    return values


def _batch(schema: Any, rows: Sequence[Sequence[Any]]) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return _pyarrow().record_batch(arrays, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:
    """A column; an integer of more than 64 bits, which only ``data`` can hold, is null there."""
    pa = _pyarrow()
    try:
        return pa.array(values, kind)
    except (OverflowError, pa.ArrowInvalid):
        return pa.array([value if _fits(value) else None for value in values], kind)


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) <= MAX_INTEGER
