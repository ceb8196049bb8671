"""``rat-fsm drain``: asks the servers that write a log to drain, and waits until they have."""

from __future__ import annotations

import contextlib
import getpass
import socket
import time
from typing import TYPE_CHECKING, Final

import click
import msgspec

from rat_fsm.cli.app import FOUND
from rat_fsm.cli.reading import progress, warnings_on_stderr
from rat_fsm.cli.render import Screen, name_of, style_of
from rat_fsm.cli.text import counted, seconds, size
from rat_fsm.cli.watch import Watch, open_for
from rat_fsm.cli.words import joined
from rat_fsm.errors import WriterBusy
from rat_fsm.replay.sources import opened
from rat_fsm.runtime.arguments import check_positive
from rat_fsm.runtime.requests import actor_name, open_as_operator, request_drain

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.cli.watch import Run
    from rat_fsm.events import Position
    from rat_fsm.projections.record import ConnectionRecord

SHOWN: Final = 5
SLICE: Final = 0.25
PAUSE: Final = 1.0  # between two lines about one writer where only the count has changed
LOOK_FOR_DEATHS: Final = 2.0
_WRITER: Final = 4
_PHASE: Final = 8
_ADVICE: Final = (
    "did not follow the request: it runs without an adapter that follows requests, or it hangs"
)


@click.command("drain")
@click.argument("url")
@click.option(
    "--timeout", default=60.0, metavar="SECONDS", help="How long to wait (60 by default)."
)
@click.option("--actor", metavar="NAME", help="Who asks, for the record (user@host by default).")
@click.option("--no-wait", is_flag=True, help="Ask, and do not wait for what follows.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON, at the end.")
@click.pass_context
def command(
    ctx: click.Context, url: str, *, timeout: float, actor: str | None, no_wait: bool, as_json: bool
) -> None:
    """Ask every server that writes the log at URL to drain, and wait until all have.

    Fit for a preStop hook. The request is an event in the log. Servers whose adapter follows
    requests, such as StreamingMiddleware, take no new connections from then on and end those
    they have. Each change is a line; connections that are left when time is up are named.

    Exits with 0 once every server that was running has no connection left or has stopped, with
    1 if one has not by then, or did not follow.
    """
    limit = check_positive(timeout, "--timeout", zero=True)
    name = actor_name(_me() if actor is None else actor)
    screen, begun = Screen(), time.monotonic()
    lines = DrainLines(screen)
    with warnings_on_stderr():
        asked = request_drain(url, name)
        with opened(url) as store:
            if not as_json:
                lines.asked(name_of(store), name, asked)
            with progress("counting", None):
                watch = Watch(store, asked.frame)
            tell = _nothing if as_json else lines.changes
            tell(watch)
            if not no_wait:
                _wait(watch, url, begun + limit, tell)
    waited = time.monotonic() - begun
    if as_json:
        screen.json(_as_json(asked, name, waited, watch))
    elif not no_wait:
        lines.summary(watch, waited)
    if not (no_wait or watch.complete):
        ctx.exit(FOUND)


def _me() -> str:
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user often has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _wait(watch: Watch, url: str, deadline: float, tell: Callable[[Watch], None]) -> None:
    look = time.monotonic() + LOOK_FOR_DEATHS
    watch.advance(0.0)
    while True:
        tell(watch)
        now = time.monotonic()
        if watch.complete or now >= deadline:
            return
        if now >= look:
            look = now + LOOK_FOR_DEATHS
            if watch.died():
                _record_deaths(url)
        watch.advance(min(deadline - now, SLICE))


def _record_deaths(url: str) -> None:
    # Whoever has it open has recorded them; a store that is away is asked again.
    with contextlib.suppress(WriterBusy, OSError):
        open_as_operator(url).close()


def _nothing(_watch: Watch) -> None:
    """Says nothing on the way."""


def _as_json(asked: Position, actor: str, waited: float, watch: Watch) -> bytes:
    return msgspec.json.encode(
        {
            "requested_at": str(asked),
            "actor": actor,
            "complete": watch.complete,
            "waited": waited,
            "writers": [run.as_dict() for run in watch.runs],
        }
    )


class DrainLines:
    """Writes how a drain goes: a line for each change, and what it came to."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told: dict[str, tuple[tuple[object, ...], tuple[object, ...], float]] = {}

    def asked(self, log: str, actor: str, position: Position) -> None:
        """Says that the request is recorded."""
        self._screen.line((f"asked {log} to drain, as {actor} (event {position})", "bold"))
        self._screen.flush()

    def changes(self, watch: Watch) -> None:
        """Says what is new; a mere count not more than once a second for each writer."""
        now = time.monotonic()
        for run in watch.runs:
            drain = run.drain
            turn, count = (drain.phase, run.done), (drain.remaining, drain.stalled)
            told = self._told.get(run.node.id)
            if told is None or told[0] != turn or (told[1] != count and now >= told[2] + PAUSE):
                self._told[run.node.id] = turn, count, now
                self._change(run)
        self._screen.flush()

    def _change(self, run: Run) -> None:
        phase = run.drain.phase
        self._screen.row(
            (run.writer, _WRITER, "bold"),
            (phase, _PHASE, style_of(phase)),
            rest=(_progress_of(run), "yellow" if run.drain.stalled else ""),
        )

    def summary(self, watch: Watch, waited: float) -> None:
        """Says what it came to, and who is left."""
        waiting = [run for run in watch.runs if not run.done]
        if waiting:
            left = sum(run.drain.remaining for run in waiting)
            self._screen.line(
                (f"NOT drained after {seconds(waited)}", "bold red"),
                (f": {counted(left, 'connection')} left", ""),
            )
        elif watch.runs:
            who = counted(len(watch.runs), "writer")
            self._screen.line((f"drained {who} in {seconds(waited)}", "bold green"))
        else:
            self._screen.line(("nobody was running, so there is nothing to wait for", ""))
        for run in waiting:
            self._left(run)

    def _left(self, run: Run) -> None:
        if not run.followed:
            self._screen.row((run.writer, _WRITER, "bold"), rest=(_ADVICE, "red"))
        left = run.left()
        for record in left[:SHOWN]:
            self._screen.row(
                (run.writer, _WRITER, "bold"),
                (record.id, _PHASE, ""),
                rest=(_described(record), "yellow" if record.stalled else ""),
                under=1,
            )
        if len(left) > SHOWN:
            more = f"and {len(left) - SHOWN:,} more, see --json"
            self._screen.row((run.writer, _WRITER, "bold"), rest=(more, ""))


def _progress_of(run: Run) -> str:
    drain = run.drain
    if not run.followed:
        return f"{drain.remaining:,} open, not draining yet"
    total = max(drain.total, drain.remaining)
    left = f"{drain.remaining:,} of {counted(total, 'connection')}" if total else "no connection"
    return joined(f"{left} left", f"{drain.stalled:,} stalled" if drain.stalled else "")


def _described(record: ConnectionRecord) -> str:
    """One connection that is left."""
    return joined(
        joined(record.kind, record.route, f"from {record.remote_addr}", by=" "),
        "stalled" if record.stalled else record.state,
        f"open for {seconds(open_for(record))}",
        f"{size(record.bytes_sent)} sent",
    )
