"""Lives as traces of XES, the form that process-mining tools read.

Written after IEEE Std 1849-2016. A trace is one life of one id, named by the id and the place
where it was born, because ids come again; a log of several lifecycles holds traces of them all.
Of each event::

    concept:name          its tag, such as connection.activated
    time:timestamp        UTC, to the microsecond
    lifecycle:transition  complete: an event has no duration
    org:resource          its writer
    state_before, state   what it did to its stream; legal, whether the table has that way
    position, version     its place in the log, its number in the life
    data.bytes_sent …     each field of its payload that is not null; what is nested as JSON

Text that XML cannot hold is escaped as `rat_fsm.exports.xml` says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import attrs
import msgspec

from rat_fsm.codec import MAX_INTEGER
from rat_fsm.events import Stream, to_datetime
from rat_fsm.exports.pages import pages
from rat_fsm.exports.payloads import payload_of
from rat_fsm.exports.selecting import EVERYTHING, Exported
from rat_fsm.exports.spool import LIMIT, Spool
from rat_fsm.exports.xml import xml_name, xml_text
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.exports.pages import Page, Row
    from rat_fsm.exports.selecting import Progress, Selection
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.table import Lifecycle

_EXTENSIONS: Final = {
    "Concept": "concept",
    "Lifecycle": "lifecycle",
    "Organizational": "org",
    "Time": "time",
}
_HEAD: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849.2016" xes.features="" xmlns="http://www.xes-standard.org/">
{extensions}\
  <global scope="trace">
    <string key="concept:name" value=""/>
  </global>
  <global scope="event">
    <string key="concept:name" value=""/>
    <date key="time:timestamp" value="1970-01-01T00:00:00.000+00:00"/>
    <string key="lifecycle:transition" value="complete"/>
    <string key="org:resource" value=""/>
    <string key="state_before" value=""/>
    <string key="state" value=""/>
  </global>
  <classifier name="Activity" keys="concept:name"/>
  <classifier name="ActivityAndState" keys="concept:name state"/>
  <string key="concept:name" value="{name}"/>
""".replace(
    "{extensions}",
    "".join(
        f'  <extension name="{name}" prefix="{prefix}" '
        f'uri="http://www.xes-standard.org/{prefix}.xesext"/>\n'
        for name, prefix in _EXTENSIONS.items()
    ),
)


def write_xes(
    source: LogSource,
    file: BinaryIO,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
    memory: int = LIMIT,
) -> Exported:
    """Writes each life as a trace: in the order they end, then those that have not.

    Beyond a limit, what is open is kept in a temporary file, so memory is bounded by the number
    of open lives. An illegal event after a life's end begins another trace of the same name.

    Args:
        source: the log.
        file: where the XML goes.
        selection: which events; states are those of the whole log in any case.
        lifecycles: how events are read; CONNECTION and NODE by default, with the events of
            others as they were written.
        progress: called with the position of each frame that was read.
        memory: how many bytes of open lives are kept in memory.

    Raises:
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
    """
    with opened(source) as store, Spool[Stream](memory) as spool:
        file.write(_HEAD.replace("{name}", xml_text(store.url)).encode())
        traces = _Traces(file, spool)
        for page in pages(store, selection, lifecycles, progress):
            for row in page.rows:
                traces.take(page, row)
        traces.end()
    file.write(b"</log>\n")
    return traces.exported


class _Traces:
    """Gathers the events of each life until it ends."""

    def __init__(self, file: BinaryIO, spool: Spool[Stream]) -> None:
        self._file = file
        self._spool = spool
        self._events = self._traces = 0

    @property
    def exported(self) -> Exported:
        """What was written so far."""
        return Exported(self._events, self._traces)

    def take(self, page: Page, row: Row) -> None:
        """Adds an event to its trace."""
        self._spool.add(row.stream, _event(page, row).encode())
        self._events += 1
        if row.over:
            self._write(row.stream)

    def end(self) -> None:
        """Writes the traces of what has not ended."""
        for stream in self._spool.waiting():
            self._write(stream)

    def _write(self, stream: Stream) -> None:
        self._traces += 1
        self._file.write(_trace(stream).encode())
        for piece in self._spool.take(stream):
            self._file.write(piece)
        self._file.write(b"  </trace>\n")


def _trace(stream: Stream) -> str:
    named = {"concept:name": f"{stream.id} {stream.born}", **attrs.asdict(stream)}
    attributes = "".join(_attribute(4, key, value) for key, value in named.items())
    return f"  <trace>\n{attributes}"


def _event(page: Page, row: Row) -> str:
    at = to_datetime(row.micros).isoformat(timespec="microseconds")
    payload = "".join(
        _attribute(6, f"data.{xml_name(name)}", value)
        for name, value in payload_of(row.event).items()
        if value is not None
    )
    return (
        "    <event>\n"
        f'      <string key="concept:name" value="{xml_text(row.type)}"/>\n'
        f'      <date key="time:timestamp" value="{at}"/>\n'
        '      <string key="lifecycle:transition" value="complete"/>\n'
        f'      <string key="org:resource" value="{xml_text(page.writer)}"/>\n'
        f'      <string key="state_before" value="{xml_text(row.before)}"/>\n'
        f'      <string key="state" value="{xml_text(row.after)}"/>\n'
        f'      <boolean key="legal" value="{str(row.legal).lower()}"/>\n'
        f'      <string key="position" value="{page.position}.{row.offset}"/>\n'
        f'      <int key="version" value="{row.version}"/>\n'
        f"{payload}    </event>\n"
    )


def _attribute(indent: int, key: str, value: Any) -> str:
    """An attribute of the type that a value has; a number that XES cannot hold is a string."""
    match value:
        case bool():
            return _element(indent, "boolean", key, "true" if value else "false")
        case int() if abs(value) <= MAX_INTEGER:
            return _element(indent, "int", key, str(value))
        case float() if math.isfinite(value):
            return _element(indent, "float", key, repr(value))
        case str():
            return _element(indent, "string", key, xml_text(value))
    return _element(indent, "string", key, xml_text(msgspec.json.encode(value).decode()))


def _element(indent: int, kind: str, key: str, value: str) -> str:
    return f'{" " * indent}<{kind} key="{key}" value="{value}"/>\n'
