"""``rat-fsm check``: whether every stream of a log is legal, then and under a changed lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from rat_fsm.cli.app import FOUND
from rat_fsm.cli.loading import LIFECYCLES, load_lifecycle
from rat_fsm.cli.monitored import MonitorLines, load_monitors, monitored_json
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.text import counted, moment
from rat_fsm.cli.words import joined, label
from rat_fsm.codec import encode_recorded
from rat_fsm.monitors import Checker
from rat_fsm.replay.compatibility import Compatibility, check_against
from rat_fsm.replay.conformance import LISTED, check
from rat_fsm.replay.monitoring import check_monitors
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rat_fsm.monitors import Monitor, Verdict
    from rat_fsm.replay.compatibility import Break
    from rat_fsm.replay.conformance import Conformance, Finding
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

_EVENT: Final = 17


@click.command("check")
@click.argument("url")
@click.option(
    "--against",
    metavar="MODULE:NAME",
    multiple=True,
    help="A changed lifecycle to judge the stored streams by; may be given again.",
)
@click.option(
    "--monitor",
    "targets",
    metavar="MODULE:NAME",
    multiple=True,
    help="A monitor, or a list of them, to judge the events by; may be given again.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=LISTED,
    show_default=True,
    metavar="N",
    help="List N findings of each kind; all are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@LIFECYCLES
@click.pass_context
def command(
    ctx: click.Context,
    url: str,
    *,
    against: tuple[str, ...],
    targets: tuple[str, ...],
    limit: int,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
) -> None:
    """Judge every stream of the log at URL by its lifecycle; exit with 1 if one is not legal.

    Each stream is judged by the definition that it was written under, which is in the log. With
    --against it is judged by that of your present code as well: which stored streams use a
    transition, an event, a state or a field that has been removed, and which payloads the new
    classes and upcasters cannot read. The module is looked for in the working directory, too.
    What the events of your own lifecycles hold is read where a --module has their classes.

    With --monitor the events are judged by rules of yours, made with always, eventually, leads_to
    and never_after of rat_fsm.monitors, each by the times in the log: what may still follow when
    the log ends is open, and no violation. A rule that is violated, or whose predicate raises,
    exits with 1.
    """
    screen = Screen()
    present = [load_lifecycle(target) for target in against]
    monitors = [monitor for target in targets for monitor in load_monitors(target)]
    known = lifecycles.values()
    with opened(url) as store:
        last, readings = last_frame(store), 1 + bool(present) + bool(monitors)
        with progress("checking", last * readings) as advance:
            verdict = _monitored(store, monitors, known, limit, advance)
            before = last * bool(monitors)
            recorded = check(
                store, lifecycles=known, limit=limit, progress=lambda done: advance(before + done)
            )
            changed = _against(store, present, lambda done: advance(before + last + done))
        if as_json:
            screen.json(_as_json(recorded, changed, verdict, limit))
        else:
            CheckLines(screen, limit).show(store, recorded, changed)
            MonitorLines(screen).show(verdict)
    if not (recorded.sound and changed.sound and verdict.holds):
        ctx.exit(FOUND)


def _monitored(
    store: Store,
    monitors: Sequence[Monitor],
    lifecycles: Iterable[Lifecycle],
    limit: int,
    advance: Callable[[int], None],
) -> Verdict:
    """Nobody who names no monitor waits for a second reading."""
    if not monitors:
        return Checker(()).verdict()
    return check_monitors(store, *monitors, lifecycles=lifecycles, limit=limit, progress=advance)


def _against(
    store: Store, lifecycles: Sequence[Lifecycle], advance: Callable[[int], None]
) -> Compatibility:
    """Nobody who names no lifecycle waits for another reading."""
    if not lifecycles:
        return Compatibility({}, ())
    return check_against(store, *lifecycles, progress=advance)


def _as_json(recorded: Conformance, changed: Compatibility, verdict: Verdict, limit: int) -> bytes:
    return msgspec.json.encode(
        {
            "sound": recorded.sound and changed.sound and verdict.holds,
            "events": recorded.events,
            "streams": recorded.streams,
            "illegal": recorded.illegal,
            "unknown": recorded.unknown,
            "findings": [_finding(finding) for finding in recorded.findings],
            "undefined": recorded.undefined,
            "against": changed.streams,
            "breaks": [_break(one) for one in changed.breaks[:limit]],
            **monitored_json(verdict),
        }
    )


def _finding(finding: Finding) -> dict[str, Any]:
    event = msgspec.Raw(encode_recorded(finding.recorded))
    said = {"state": finding.state, "problem": finding.problem, "legal": finding.legal}
    return {"event": event, **said}


def _break(one: Break) -> dict[str, Any]:
    where = {"position": str(one.position), "micros": one.micros, "stream": one.stream}
    return {"cause": one.cause, "streams": one.streams, "first": where, "detail": one.detail}


class CheckLines:
    """Writes what was found, at most so many of each kind."""

    def __init__(self, screen: Screen, limit: int) -> None:
        self._screen = screen
        self._limit = limit

    def show(self, store: Store, recorded: Conformance, changed: Compatibility) -> None:
        """Writes all of it."""
        self._recorded(name_of(store), recorded)
        for name, streams in changed.streams.items():
            self._changed(
                name, streams, [one for one in changed.breaks if one.cause.lifecycle == name]
            )

    def _recorded(self, name: str, found: Conformance) -> None:
        judged = f"{counted(found.events, 'event')} of {counted(found.streams, 'stream')}"
        verdict = ("all legal", "bold green") if found.sound else (_wrong(found), "bold red")
        self._screen.line((f"{name}  {judged}: ", "bold"), verdict)
        for finding in found.findings:
            self._finding(finding)
        self._more(found.illegal + found.unknown - len(found.findings))
        for lifecycle, streams in found.undefined.items():
            which = f"{counted(streams, 'stream')} of {lifecycle}"
            self._screen.line((f"not judged  {which}: the log does not define it", "yellow"))

    def _finding(self, finding: Finding) -> None:
        recorded = finding.recorded
        self._screen.row(
            (f"  {recorded.position}", 8, "dim"),
            (moment(recorded.micros), 23, "dim"),
            (label(recorded.type), _EVENT, "red"),
            (recorded.stream.id, 12, "bold"),
            rest=(_told(finding), ""),
            under=2,
        )

    def _changed(self, name: str, streams: int, breaks: Sequence[Break]) -> None:
        judged = f"against {name}  {counted(streams, 'stream')}"
        if not streams:
            self._screen.line((f"against {name}  this log has no stream of it", "yellow"))
        elif not breaks:
            self._screen.line((f"{judged}: ", "bold"), ("all legal", "bold green"))
        else:
            causes = counted(len(breaks), "cause")
            self._screen.line((f"{judged}: ", "bold"), (f"{causes} of trouble", "bold red"))
        for one in breaks[: self._limit]:
            self._screen.line((f"  {one.cause.sentence}", "red"), (f"; {_concerned(one)}", ""))
        self._more(len(breaks) - self._limit)

    def _more(self, more: int) -> None:
        if more > 0:
            self._screen.line((f"  and {more:,} more, see --limit", "dim"))


def _wrong(found: Conformance) -> str:
    illegal = f"{found.illegal:,} illegal" if found.illegal else ""
    return joined(illegal, f"{found.unknown:,} unknown" if found.unknown else "")


def _told(finding: Finding) -> str:
    legal = ", ".join(map(label, finding.legal))
    state = finding.state or "its end"
    why = f"({finding.problem})" if finding.problem else f"illegal in {state}"
    return joined(why, f"legal there: {legal}" if legal else "nothing is legal there", by="; ")


def _concerned(one: Break) -> str:
    uses = f"{counted(one.streams, 'stream')} concerned"
    first = f"first {one.stream.id} at {one.position}, {moment(one.micros)} UTC"
    return joined(uses, first, one.detail)
