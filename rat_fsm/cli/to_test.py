"""``rat-fsm to-test``: a stream of a log as a test that pytest runs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from rat_fsm.cli.app import Failure
from rat_fsm.cli.loading import LIFECYCLES, load
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import CACHE, progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.text import counted
from rat_fsm.errors import InvalidArgument
from rat_fsm.replay.sources import opened
from rat_fsm.runtime.escaping import escape
from rat_fsm.stores.port import last_frame
from rat_fsm.traces import (
    KINDS,
    LIMIT,
    OURS,
    Shrunk,
    expression,
    redact,
    shrink,
    tell,
    trace_of,
    write_calls,
    write_test,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.replay.sources import Moment
    from rat_fsm.table import Lifecycle
    from rat_fsm.traces import Told, Trace

_FUNCTION: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


@click.command("to-test")
@click.argument("url")
@click.argument("id")
@click.option(
    "--life",
    type=click.IntRange(min=1),
    help="Which life of the id, as history counts them; the last by default.",
)
@click.option("--until", type=MomentType(), help="The last event to take: a time or a position.")
@click.option(
    "--shrink",
    "condition",
    metavar="MODULE:FUNCTION|EXPRESSION",
    help="Reduce the stream first, to the fewest events for which this holds.",
)
@click.option(
    "--effort",
    type=click.IntRange(min=0),
    default=LIMIT,
    show_default=True,
    help="How many events may be folded to shrink it.",
)
@LIFECYCLES
@click.option(
    "--form",
    type=click.Choice(["replay", "stateful"]),
    default="replay",
    show_default=True,
    help="What the test does: replay the events, or make the calls of a state machine test.",
)
@click.option(
    "--machine",
    metavar="MODULE:NAME",
    help="For --form stateful, a machine of your own, which drives your system.",
)
@click.option("--keep-addresses", is_flag=True, help="Write the client's address down.")
@click.option("--keep-metadata", is_flag=True, help="Write metadata down, and who asked to drain.")
@click.option("--keep-messages", is_flag=True, help="Write the messages of errors down.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write, not stdout.")
@click.option("--force", is_flag=True, help="Replace that file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object about the test.")
@CACHE
def command(
    url: str,
    id: str,
    *,
    life: int | None,
    until: Moment | None,
    condition: str | None,
    effort: int,
    lifecycles: Mapping[str, Lifecycle],
    form: str,
    machine: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    cache: Path | None,
    **keep: bool,
) -> None:
    """Write what happened to ID in the log at URL as a test that pytest runs.

    The test replays the events and asserts the state after each, what is then known of the
    stream, and the totals. It passes as it stands, and fails once a change of code or table
    makes something else of the same events.

    With --form stateful it makes the calls of the state machine that
    rat_fsm.testing.lifecycle_machine makes of the stream's lifecycle, as Hypothesis prints those
    of a failing run: each event must lead where the table says, what is illegal must be refused.

    The id is always replaced; addresses, metadata and messages of errors are too, unless told
    otherwise. What the events of your own lifecycles hold is written as it is.

    --shrink takes a function, which gets a rat_fsm.traces.Told, or an expression of comparisons,
    and, or, not and len() over state, states, events, duration, bytes_sent, messages_sent,
    errors, retries, stalled and the fields of events at their last value, such as:
    retries >= 3 and reason == "retries_exhausted"
    """
    if output is not None and output.exists() and not force:
        raise Failure(f"{output} exists; --force replaces it")
    if machine is not None and form != "stateful":
        raise Failure("--machine is for --form stateful")
    with opened(url) as store, progress("searching", last_frame(store)) as advance:
        log = name_of(store)
        trace = trace_of(
            store,
            id,
            life=life,
            until=until,
            lifecycles=lifecycles.values(),
            cache=cache,
            progress=advance,
        )
    shrunk = None if condition is None else _shrunk(trace, condition, effort)
    kept = tuple(name.removeprefix("keep_") for name, kept in keep.items() if kept)
    made = _Made(log, trace, condition, shrunk, kept)
    where = next(name for name, one in lifecycles.items() if one is trace.lifecycle)
    if form == "stateful":
        source = _calls(made, where, machine)
    else:
        source = write_test(made.redacted(), made.head(), lifecycle=where)
    if output is not None:
        _write(output, source, force=force)
    if as_json:
        told = {**made.facts(), "output": None if output is None else str(output)}
        Screen().json(msgspec.json.encode({**told, "source": None if output else source}))
        return
    if output is None:
        sys.stdout.write(source)
    for line in (*made.notes(), *([] if output is None else [f"run python -m pytest {output}"])):
        click.echo(escape(line), err=True)


def _calls(made: _Made, lifecycle: str, machine: str | None) -> str:
    if machine is None:
        return write_calls(made.redacted(), made.head(), lifecycle=lifecycle)
    load(machine)
    return write_calls(made.redacted(), made.head(), machine=machine)


def _shrunk(trace: Trace, condition: str, effort: int) -> Shrunk:
    with progress("shrinking", None):
        return shrink(trace, _predicate(trace, condition), limit=effort)


def _predicate(trace: Trace, condition: str) -> Callable[[Told], object]:
    """The function or the expression that is typed; what a function prints goes to stderr."""
    if not _FUNCTION.fullmatch(condition):
        return expression(condition, trace.lifecycle)
    function = load(condition)
    if not callable(function):
        raise InvalidArgument(f"{condition} is no function but a {type(function).__name__}")

    def predicate(told: Told) -> Any:
        with contextlib.redirect_stdout(sys.stderr):
            return function(told)

    return predicate


def _write(path: Path, source: str, *, force: bool) -> None:
    """Writes a file for nobody but its owner; one that exists only with ``force``."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - with flags and a mode
            file.write(source)
    except OSError as problem:
        raise Failure(f"cannot write {path}: {problem.strerror}") from problem


@attrs.frozen
class _Made:
    """What there is to say about a test: at its head, beside it, and as JSON."""

    log: str
    trace: Trace
    condition: str | None
    shrunk: Shrunk | None
    kept: tuple[str, ...]

    @property
    def result(self) -> Trace:
        """The trace that is written."""
        return self.trace if self.shrunk is None else self.shrunk.trace

    def redacted(self) -> Trace:
        """The same without what must not be in it."""
        return redact(self.result, self.kept)

    def head(self) -> list[str]:
        """Where the test comes from, for whoever finds it in a year."""
        origin = self.trace.origin
        life = "" if origin.lives == 1 else f", life {origin.life} of {origin.lives}"
        where = f"stream {origin.stream.born}{life}, events {origin.first} to {origin.last}"
        lines = [f"From {self.log}: {where}."]
        if self.shrunk is not None:
            lines.append(f"{self._sizes()}, values made simpler, while this held: {self.condition}")
        lines.append(f"Not as recorded: {', '.join(self._replaced())}.")
        return lines

    def _replaced(self) -> list[str]:
        """What one looks for in vain."""
        if self.trace.lifecycle not in OURS:
            return ["the id"]
        return ["the id", *(kind for kind in KINDS if kind not in self.kept)]

    def _sizes(self) -> str:
        fewest = len(self.result.events), len(self.trace.events)
        return f"Shrunk to {fewest[0]:,} of {counted(fewest[1], 'event')}"

    def notes(self) -> list[str]:
        """What one should know now."""
        origin, notes = self.trace.origin, []
        if origin.lives > 1:
            notes.append(f"this is life {origin.life} of {origin.lives}; --life takes another")
        if self.shrunk is not None:
            enough = "" if self.shrunk.minimal else ", then gave up: there may be smaller ones"
            notes.append(f"{self._sizes()}; tried {self.shrunk.tried:,} smaller ones{enough}")
        if self.trace.lifecycle not in OURS:
            notes.append(f"what events of {self.trace.lifecycle.name} hold is written as it is")
        if origin.foreign:
            notes.append("some of it was written under another definition of its lifecycle")
        illegal = tell(self.result).legal.count(False)
        if illegal:
            notes.append(f"{counted(illegal, 'event')} today's table has no way for keep the state")
        return notes

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        origin, shrunk = self.trace.origin, self.shrunk
        return {
            "log": self.log,
            "lifecycle": self.trace.lifecycle.name,
            "born": origin.stream.born,
            "life": origin.life,
            "lives": origin.lives,
            "first": str(origin.first),
            "last": str(origin.last),
            "recorded": len(self.trace.events),
            "events": len(self.result.events),
            "illegal": tell(self.result).legal.count(False),
            "other_definition": origin.foreign,
            "kept": list(self.kept),
            "shrunk": shrunk
            and {"while": self.condition, "tried": shrunk.tried, "minimal": shrunk.minimal},
        }
