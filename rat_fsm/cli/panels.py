"""What ``rat-fsm top`` shows of a sample: a head, the writers, and some of the connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.cli.columns import Column, lay_out
from rat_fsm.cli.render import style_of
from rat_fsm.cli.text import clock, counted, seconds, size
from rat_fsm.cli.words import joined
from rat_fsm.cli.writers import ago, slot_part
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.cli.columns import Line
    from rat_fsm.cli.render import Part
    from rat_fsm.cli.sampling import Connection, Rates, Sample
    from rat_fsm.replay.cluster import WriterStatus

WIDEST_ID: Final = 36  # a UUID
SLOW: Final = 1.0
_MICROS: Final = 1_000_000
WRITERS: Final = (
    Column("writer"),
    Column("slot"),
    Column("phase"),
    Column("open", right=True),
    Column("stalled", right=True),
    Column("events/s", right=True),
    Column("messages/s", right=True),
    Column("sent/s", right=True),
    Column("errors", right=True),
    Column("retries", right=True),
    Column("refused", right=True),
    Column("last seen", right=True),
)
CONNECTIONS: Final = (
    Column("writer"),
    Column("connection"),
    Column("state"),
    Column("sent/s", right=True),
    Column("sent", right=True),
    Column("messages", right=True),
    Column("errors", right=True),
    Column("retries", right=True),
    Column("open for", right=True),
    Column("silent", right=True),
    Column("client"),
    Column("kind"),
    Column("route"),
)


def panels(name: str, sample: Sample, order: str, rows: int | None = None) -> list[Line]:
    """Everything as lines; with a number of rows, no more than fit, whole sections first.

    Strings of the log are escaped; the caller shows them as text.
    """
    head, writers = _head(name, sample), lay_out(WRITERS, _writers(sample))
    if rows is not None:
        writers = _cut(writers, max(3, (rows - len(head) - 1) // 2), "writers")
    lines = [*head, [], *writers]
    left = None if rows is None else rows - len(lines) - 1
    if sample.connections and (left is None or left > 1):
        shown = lay_out(CONNECTIONS, map(_connection, sample.connections[: left and left - 2]))
        lines += [[], [(f"{order} connections", "bold")], *shown]
    return lines


def _cut(lines: list[Line], most: int, what: str) -> list[Line]:
    if len(lines) <= most:
        return lines
    left = len(lines) - most + 1
    return [*lines[: most - 1], [(f"and {left:,} more {what}, see rat-fsm writers", "dim")]]


def _head(name: str, sample: Sample) -> list[Line]:
    stats = sample.stats
    limit = stats["max_connections"]
    opened = joined(
        f"{stats['active_connections']:,} open",
        "" if limit is None else f"of at most {limit:,}",
        by=" ",
    )
    lines: list[Line] = [
        [(escape(name), "bold"), (f"  {clock(round(sample.at * _MICROS))[:8]} UTC", "dim")],
        [
            (f"{_held(sample)} · {opened}", ""),
            _stalled(sample),
        ],
        [(_flow(sample.total), ""), _lag(sample)],
    ]
    drains = [_drain(status) for status in sample.writers.values() if _drains(status)]
    return [*lines, *drains, *_trouble(sample)]


def _held(sample: Sample) -> str:
    slots = [status.slot.held for status in sample.writers.values()]
    return joined(
        counted(len(slots), "writer"), "" if None in slots else f"{sum(map(bool, slots))} held"
    )


def _stalled(sample: Sample) -> Part:
    count = sample.stats["stalled_connections"]
    return (f" · {count:,} stalled", "yellow") if count else ("", "")


def _flow(rates: Rates) -> str:
    return (
        f"{size(round(rates.bytes))}/s in {rates.messages:,.0f} messages/s · "
        f"{rates.events:,.0f} events/s"
    )


def _lag(sample: Sample) -> Part:
    """Some milliseconds are ordinary: that long it takes until a frame is noticed."""
    lag = sample.lag
    if lag.seconds < SLOW:
        return f" · lag {seconds(lag.seconds)}", "dim"
    return f" · lag {seconds(lag.seconds)}, {counted(lag.frames, 'frame')}", "yellow"


def _drains(status: WriterStatus) -> bool:
    return status.drain.phase in {"draining", "forcing"}


def _drain(status: WriterStatus) -> Line:
    drain = status.drain
    total = max(drain.total, drain.remaining)
    asked = f", asked by {drain.requested_by}" if drain.requested_by else ""
    said = f"{status.writer} is {drain.phase}: {drain.remaining:,} of {total:,} left{asked}"
    return [(escape(said), style_of(drain.phase))]


def _trouble(sample: Sample) -> list[Line]:
    """That the store is away, and for how long what is shown has been the past."""
    health = sample.health
    if health.status != "failing":
        return []
    away = f"the store has been away for {seconds(health.failing_for)}, and is asked again"
    return [[(away, "bold red")], [(f"  {escape(str(health.last_error))}", "red")]]


def _writers(sample: Sample) -> list[list[Part]]:
    return [_writer(status, sample.rates[name]) for name, status in sample.writers.items()]


def _writer(status: WriterStatus, rates: Rates) -> list[Part]:
    stats, phase = status.stats, status.drain.phase
    return [
        (status.writer, "bold"),
        slot_part(status),
        (phase, style_of(phase)),
        (f"{stats['active_connections']:,}", ""),
        _count(stats["stalled_connections"], "yellow"),
        (f"{rates.events:,.0f}", ""),
        (f"{rates.messages:,.0f}", ""),
        (f"{size(round(rates.bytes))}", ""),
        _count(stats["total_errors"], "red"),
        _count(stats["total_retries"], "yellow"),
        _count(stats["refused_connections"], "yellow"),
        (ago(status.last_seen), "dim"),
    ]


def _count(count: int, style: str) -> Part:
    return f"{count:,}", style if count else "dim"


def _connection(one: Connection) -> Sequence[Part]:
    state = "stalled" if one.stalled else one.state
    return [
        (one.writer, "dim"),
        (_short(one.id), "bold"),
        (state, "yellow" if one.stalled else style_of(one.state)),
        (size(round(one.rate)), ""),
        (size(one.bytes_sent), ""),
        (f"{one.messages_sent:,}", ""),
        _count(one.errors, "red"),
        _count(one.retries, "yellow"),
        (seconds(one.open_for), ""),
        (seconds(one.silent_for), ""),
        (one.remote_addr, "dim"),
        (one.kind, "dim"),
        (one.route, "dim"),
    ]


def _short(name: str) -> str:
    return name if len(name) <= WIDEST_ID else f"{name[: WIDEST_ID - 1]}…"
