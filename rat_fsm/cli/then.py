"""Shows what was true at a moment: the totals, who was open, and all that was known of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.cli.log import WIDEST_ID, EventLines
from rat_fsm.cli.render import style_of
from rat_fsm.cli.stats import StatsLines, stats_of
from rat_fsm.cli.text import counted, duration, moment, size
from rat_fsm.cli.words import ending, joined, plain, sent
from rat_fsm.codec import encode_recorded
from rat_fsm.events import Position, to_datetime, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rat_fsm.cli.render import Screen
    from rat_fsm.events import Recorded
    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.lives import Life, Step
    from rat_fsm.replay.sources import Moment

SHOWN: Final = 20
_ID: Final = len("connection")
_STATE: Final = 10
_FOR: Final = 8
_LABEL: Final = 9
SORTS: Final[Mapping[str, Callable[[ConnectionInfo], Any]]] = {
    "oldest": lambda info: info.created_at,
    "newest": lambda info: -to_micros(info.created_at),
    "idle": lambda info: info.last_activity,
    "bytes": lambda info: -info.bytes_sent,
    "errors": lambda info: (-info.error_count, info.created_at),
}


@attrs.frozen
class Then:
    """A moment of a log, and what was true at it.

    Attributes:
        moment: as it was asked for, None for the beginning or the end.
        event: the last event before it, or at it, in the order of the log.
        model: what had happened by then.
    """

    moment: Moment | None
    event: Recorded | None
    model: ReadModel

    @property
    def micros(self) -> int:
        """What time it was; where a position was asked for, that of its event."""
        if self.moment is not None and not isinstance(self.moment, Position):
            return to_micros(self.moment)
        return 0 if self.event is None else self.event.micros

    @property
    def title(self) -> str:
        """When it was, and how much had happened."""
        if self.event is None:
            return "before the first event"
        count = counted(sum(self.model.cursor.values()), "event")
        writers = len(self.model.cursor)
        whose = f" of {writers} writers" if writers > 1 else ""
        return joined(f"as of {moment(self.micros)} UTC", f"{count}{whose}", by=" · ")

    def infos(self, sort: str) -> list[ConnectionInfo]:
        """The connections that were open."""
        return sorted(self.model.connections.infos(), key=SORTS[sort])

    def has_had(self, step: Step) -> bool:
        """Whether something had happened by then."""
        if isinstance(self.moment, Position) and step.position is not None:
            return step.position <= self.moment
        return step.micros <= self.micros

    def as_dict(self) -> dict[str, Any]:
        """What is said of it in JSON, whatever else is asked."""
        return {
            "at": None if self.event is None else to_datetime(self.micros),
            "event": None if self.event is None else msgspec.Raw(encode_recorded(self.event)),
            "events": sum(self.model.cursor.values()),
        }


class ThenLines:
    """Writes a moment."""

    def __init__(self, screen: Screen, then: Then) -> None:
        self._screen = screen
        self._then = then

    def show(self, sort: str, limit: int, hint: str = "") -> None:
        """Writes the totals, the last event, and the first so many open connections.

        Args:
            sort: which come first.
            limit: how many there are to be.
            hint: how to see more.
        """
        model = self._then.model
        StatsLines(self._screen).show(self._then.title, stats_of(model), model.drain.phase)
        if self._then.event is not None:
            self._screen.line(("last event", "bold"))
            EventLines(self._screen).show(self._then.event)
        self._open(self._then.infos(sort), limit, hint)

    def _open(self, infos: Sequence[ConnectionInfo], limit: int, hint: str) -> None:
        shown = infos[:limit]
        width = min(WIDEST_ID, max([_ID, *(len(info.connection_id) for info in shown)]))
        if shown:
            head = (
                ("connection", width, "dim"),
                ("state", _STATE, "dim"),
                ("open for", -_FOR, "dim"),
            )
            self._screen.row(*head)
        for info in shown:
            self._screen.row(
                (info.connection_id, width, "bold"),
                (info.state.value, _STATE, style_of(info.state.value)),
                (self._since(to_micros(info.created_at)), -_FOR, ""),
                rest=(_about(info), ""),
                under=1,
            )
        more = len(infos) - len(shown)
        if more:
            self._screen.line((f"and {more:,} more{hint}", "dim"))

    def connection(self, infos: Iterable[ConnectionInfo]) -> None:
        """Writes all that was known of a connection that was open."""
        self._screen.line((self._then.title, "bold"))
        for info in infos:
            self._screen.line((f"connection {info.connection_id}", "bold"))
            for name, value, style in self._known(info):
                if value:
                    self._screen.row((name, _LABEL, "dim"), rest=(value, style))

    def _known(self, info: ConnectionInfo) -> list[tuple[str, str, str]]:
        began, heard = to_micros(info.created_at), to_micros(info.last_activity)
        errors = counted(info.error_count, "error") if info.error_count else ""
        since = f"{info.retry_count} since the last reset"
        retries = f"{counted(info.total_retries, 'retry')}, {since}" if info.total_retries else ""
        flags = joined(
            "its client takes nothing" if info.stalled else "",
            "the server is draining" if info.draining else "",
        )
        return [
            ("state", info.state.value, style_of(info.state.value)),
            ("open", f"for {self._since(began)}, since {moment(began)} UTC", ""),
            ("client", f"{info.kind} from {info.remote_addr}", ""),
            ("route", info.route, ""),
            ("metadata", plain(info.metadata), ""),
            ("sent", sent(info.bytes_sent, info.messages_sent), ""),
            ("last sent", f"{self._since(heard)} before" if info.bytes_sent else "never", ""),
            ("trouble", joined(errors, retries), "red"),
            ("notice", flags, "yellow"),
        ]

    def lives(self, stream_id: str, lives: Sequence[Life]) -> None:
        """Writes where each life of an id was then, none of which was an open connection."""
        self._screen.line((self._then.title, "bold"))
        for number, life in enumerate(lives, 1):
            which = f", life {number} of {len(lives)}" if len(lives) > 1 else ""
            name = f"{life.stream.lifecycle} {stream_id}{which}"
            self._screen.row((name, 1, "bold"), rest=(self._fate(life), ""))

    def _fate(self, life: Life) -> str:
        state = state_of(life, self._then)
        if state is None:
            return (
                f"not begun yet: it did {duration(life.steps[0].micros - self._then.micros)} later"
            )
        if not life.over or not self._then.has_had(life.steps[-1]):
            return state
        why = f", {ending(life.closing)}" if life.closing is not None else ""
        return f"ended {self._since(life.steps[-1].micros)} before: {state}{why}"

    def _since(self, micros: int) -> str:
        return duration(self._then.micros - micros)


def state_of(life: Life, then: Then) -> str | None:
    """The state that a life was in at a moment, None before it began."""
    states = [step.after for step in life.steps if then.has_had(step)]
    return states[-1] if states else None


def _about(info: ConnectionInfo) -> str:
    """What it was sent, who it was, what was wrong with it."""
    errors = counted(info.error_count, "error") if info.error_count else ""
    retries = counted(info.total_retries, "retry") if info.total_retries else ""
    client = joined(info.kind, info.remote_addr, info.route, by=" ")
    stalled = "stalled" if info.stalled else ""
    return joined(size(info.bytes_sent), client, errors, retries, stalled, by=" · ")
