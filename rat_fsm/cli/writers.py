"""``rat-fsm writers``: who writes a log, who still lives, and how far each has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from rat_fsm.cli.columns import Column, lay_out
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.reading import caught_up
from rat_fsm.cli.render import Screen, name_of, style_of
from rat_fsm.cli.text import counted, moment, seconds
from rat_fsm.cli.words import joined
from rat_fsm.events import to_micros
from rat_fsm.replay.cluster import ClusterView
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from rat_fsm.cli.render import Part
    from rat_fsm.replay.cluster import WriterStatus
    from rat_fsm.table import Lifecycle

WIDE: Final = 105  # columns of a terminal that has room for times in full
HASH: Final = 12  # enough to tell heads apart by eye; --json has all of it
COLUMNS: Final = (
    Column("writer"),
    Column("slot"),
    Column("epoch", right=True),
    Column("phase"),
    Column("events", right=True),
    Column("open", right=True),
    Column("frame", right=True),
    Column("hash"),
    Column("last event, UTC"),
    Column("last seen"),
)


@click.command("writers")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@LIFECYCLES
def command(url: str, *, as_json: bool, lifecycles: Mapping[str, Lifecycle]) -> None:
    """List who writes the log at URL: slots, heads, when each was last seen, open streams.

    A slot is held by a process that lives, free, or dead: then its process ended or was stopped,
    and what it left open is ended by the next server that opens the log. Where slots are leased,
    by PostgreSQL and NATS, the epoch says how often one was taken, and one whose process has died
    is held until its lease ends. A log in a file says only whether a process on this machine has
    its lock. Nothing is claimed or changed.
    """
    screen = Screen()
    with opened(url) as store, ClusterView(store, lifecycles=lifecycles.values()) as view:
        caught_up(view, store)
        found = list(view.writers().values())
        if as_json:
            plain = {"log": name_of(store), "writers": [_plain(status) for status in found]}
            screen.json(msgspec.json.encode(plain))
            return
        held = sum(bool(status.slot.held) for status in found)
        title = joined(counted(len(found), "writer"), f"{held} held", by=", ")
        screen.line((name_of(store), "bold"), (f": {title}", ""))
        if not found:
            return
        wide = screen.width is None or screen.width >= WIDE
        for line in lay_out(COLUMNS, (_row(status, wide=wide) for status in found)):
            screen.line(*line)


def _plain(status: WriterStatus) -> dict[str, Any]:
    return {
        "writer": status.writer,
        "held": status.slot.held,
        "died": status.died,
        "epoch": status.slot.epoch,
        "phase": status.drain.phase,
        "events": status.events,
        "open_streams": status.open_streams,
        "position": status.position,
        "head": status.head,
        "last_event": status.last_event,
        "last_seen": status.last_seen,
    }


def _row(status: WriterStatus, *, wide: bool) -> list[Part]:
    epoch, at = status.slot.epoch, status.last_event if wide else None
    return [
        (status.writer, "bold"),
        slot_part(status),
        ("" if epoch is None else str(epoch), ""),
        (status.drain.phase, style_of(status.drain.phase)),
        (f"{status.events:,}", ""),
        (f"{status.open_streams:,}", "" if status.open_streams else "dim"),
        (f"{status.position:,}", ""),
        (status.head[:HASH], "dim"),
        ("" if at is None else moment(to_micros(at)), ""),
        (ago(status.last_seen), ""),
    ]


def slot_part(status: WriterStatus) -> Part:
    """What to say of a slot."""
    if status.slot.held is None:
        return "?", "yellow"
    if status.slot.held:
        return "held", "green"
    return ("dead", "bold red") if status.died else ("free", "dim")


def ago(then: datetime.datetime | None) -> str:
    """How long ago something was, by the clock of this machine."""
    return "" if then is None else f"{seconds(max(0.0, time.time() - then.timestamp()))} ago"
