"""``rat-fsm stats``: the running totals of a log, folded again from its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from rat_fsm.cli.loading import LIFECYCLES, OURS
from rat_fsm.cli.reading import frames
from rat_fsm.cli.render import Screen, name_of, style_of
from rat_fsm.cli.text import counted, moment, seconds, size
from rat_fsm.cli.words import joined
from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import InvalidArgument
from rat_fsm.replay.sources import new_model, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

_LABEL: Final = 14
_NAME: Final = 20
_COUNT: Final = 12
_BAR: Final = 32


@click.command("stats")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@click.option("--writer", metavar="W", help="Count what this writer recorded, such as w0.")
@LIFECYCLES
def command(
    url: str, *, as_json: bool, writer: str | None, lifecycles: Mapping[str, Lifecycle]
) -> None:
    """Count what the log at URL recorded, from its beginning to now.

    Connections open now and ever, what was sent, errors and retries, and how connections ended:
    the statistics that get_stats() gives in the server, of all writers together or of one. Of your
    own lifecycles, which a --module has, how many streams are in which state.
    """
    screen = Screen()
    with opened(url) as store:
        _check_writer(store, writer)
        model = _fold(store, writer, lifecycles.values())
        if as_json:
            screen.json(msgspec.json.encode(stats_of(model)))
        else:
            StatsLines(screen).show(_title(model, writer), stats_of(model), model.drain.phase)


def _check_writer(store: Store, writer: str | None) -> None:
    known = sorted(store.heads())
    if writer is not None and writer not in known:
        names = ", ".join(known) or "no writer at all"
        raise InvalidArgument(f"{name_of(store)} has no writer {writer}, but {names}")


def stats_of(model: ReadModel) -> dict[str, Any]:
    """All statistics; of other lifecycles than ours how many streams are in which state."""
    ours = {lifecycle.name for lifecycle in OURS.values()}
    streams = {
        name: {state: counts[state] for state in counts if state != model.lifecycles[name].initial}
        for name, counts in model.totals.states.items()
        if name not in ours
    }
    return {**model.stats.as_dict(), **({"streams": streams} if streams else {})}


def _fold(store: Store, writer: str | None, lifecycles: Iterable[Lifecycle]) -> ReadModel:
    model = new_model(lifecycles)
    for stored in frames(store, "counting", writer):
        with no_collection():
            decode(stored, model).fold_into(model)
    return model


def _title(model: ReadModel, writer: str | None) -> str:
    who = counted(len(model.cursor), "writer") if writer is None else f"writer {writer}"
    events = counted(sum(model.cursor.values()), "event")
    last = max(model.last_at.values(), default=None)
    until = "" if last is None else f"until {moment(last)} UTC"
    return joined(who, events, until, by=" · ")


class StatsLines:
    """Writes statistics in groups, with a bar where parts make a whole."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, title: str, stats: Mapping[str, Any], phase: str) -> None:
        """Writes them all; ``phase`` is that of the run which began last."""
        self._screen.line((title, "bold"))
        self._group("open now", stats["active_connections"], _limits(stats, phase))
        self._bars(stats["state_distribution"], style_of)
        self._group("ever", stats["total_connections"], _ever(stats))
        self._group("sent", size(stats["total_bytes_sent"]), _sent(stats))
        self._group("errors", stats["total_errors"], _errors(stats), style="red")
        self._group("retries", stats["total_retries"], _retries(stats), style="yellow")
        self._group("refused", stats["refused_connections"], style="yellow")
        self._bars(stats["refused_by_cause"], lambda _: "yellow")
        self._group("ended", stats["closed_connections"])
        self._bars(stats["closed_by_reason"], lambda _: "cyan")
        for name, counts in stats.get("streams", {}).items():
            self._group(name, sum(counts.values()))
            self._bars(counts, style_of)
        self._oddities(stats)

    def _group(self, name: str, value: Any, more: str = "", style: str = "") -> None:
        text = value if isinstance(value, str) else f"{value:,}"
        self._screen.row(
            (name, _LABEL, "bold"),
            (text, -_COUNT, style if value else "dim"),
            rest=(more, ""),
            under=2,
        )

    def _bars(self, counts: Mapping[str, int], style: Callable[[str], str]) -> None:
        whole = max(1, sum(counts.values()))
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            if count:
                bar = "█" * round(_BAR * count / whole) or "▏"
                self._screen.row(
                    (f"  {name}", _LABEL + 6, ""),
                    (f"{count:,}", -(_COUNT - 6), ""),
                    rest=(bar, style(name)),
                )

    def _oddities(self, stats: Mapping[str, Any]) -> None:
        """What a sound log of today's rat_fsm does not have."""
        for key in ("callback_failures", "illegal_events", "unknown_events"):
            if stats[key]:
                self._group(key.replace("_", " "), stats[key], style="red")


def _limits(stats: Mapping[str, Any], phase: str) -> str:
    limit = stats["max_connections"]
    return joined(
        "" if limit is None else f"of at most {limit:,}",
        f"peak {stats['peak_connections']:,}",
        "" if phase == "none" else f"node {phase}",
        by=" · ",
    )


def _ever(stats: Mapping[str, Any]) -> str:
    mean = stats["average_response_time"]
    return f"active after {seconds(mean)} on average" if mean else ""


def _sent(stats: Mapping[str, Any]) -> str:
    return f"in {counted(stats['total_messages_sent'], 'message')}"


def _errors(stats: Mapping[str, Any]) -> str:
    count = stats["connections_with_errors"]
    return f"met by {counted(count, 'connection')} still open" if count else ""


def _retries(stats: Mapping[str, Any]) -> str:
    if not stats["total_retries"] and not stats["total_retries_refused"]:
        return ""
    return f"{stats['total_recoveries']:,} recovered, {stats['total_retries_refused']:,} refused"
