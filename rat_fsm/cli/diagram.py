"""``rat-fsm diagram``: draws a lifecycle, and what the streams of a log did in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from rat_fsm.cli.app import Failure
from rat_fsm.cli.loading import LIFECYCLES, load_lifecycle
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen
from rat_fsm.codec import MAX_EVENTS
from rat_fsm.diagrams import dot, mermaid, svg
from rat_fsm.diagrams.graphviz import graphviz_svg
from rat_fsm.events import Position
from rat_fsm.replay.sources import opened
from rat_fsm.replay.traffic import Traffic, traffic
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.diagrams.chart import Machine
    from rat_fsm.replay.sources import Moment
    from rat_fsm.table import Lifecycle

DRAWERS: Final = {"mermaid": mermaid, "dot": dot, "svg": svg}
ENDINGS: Final = {".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


@click.command("diagram")
@click.argument("machine", default="connection")
@click.option(
    "--format",
    "notation",
    type=click.Choice(list(DRAWERS)),
    help="What to write; by default what the ending of --output says, else mermaid.",
)
@click.option("--log", "url", metavar="URL", help="Count what the streams of this log did.")
@click.option("--writer", metavar="W", help="Count the streams of this writer only, such as w0.")
@click.option("--since", type=MomentType(), help="Count from this time or event on.")
@click.option("--until", type=MomentType(), help="Count to this time or event.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write.")
@click.option(
    "--engine",
    type=click.Choice(["own", "graphviz"]),
    default="own",
    show_default=True,
    help="What places an SVG: rat_fsm itself, or Graphviz, if it is installed.",
)
@click.option("--json", "as_json", is_flag=True, help="The states and edges as one JSON object.")
@LIFECYCLES
def command(
    machine: str,
    *,
    notation: str | None,
    url: str | None,
    writer: str | None,
    since: Moment | None,
    until: Moment | None,
    output: Path | None,
    engine: str,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
) -> None:
    """Draw MACHINE: connection (the default), node, a lifecycle of a --module, or module:NAME.

    With --log the drawing shows what really happened: on each arrow how often it was taken, in
    each state how many came, how many are there now and for how long they stay (the median, and
    what nine of ten do not exceed). What never happened is dashed and grey. A lifecycle that only
    the log has a definition of is named by its plain name; its code is not needed.
    """
    draw = _json if as_json else _drawer(notation, output, engine)
    known = {lifecycle.name: lifecycle for lifecycle in lifecycles.values()}
    wanted = load_lifecycle(machine) if ":" in machine else known.get(machine, machine)
    answer = draw(_drawn(wanted, url, writer, since, until))
    if output is not None:
        _write(answer, output)
    elif as_json:
        Screen().json(answer.rstrip().encode())
    else:  # a drawing holds nothing that a terminal obeys, and is copied in whole lines
        click.echo(answer, nl=False)


def _drawer(notation: str | None, output: Path | None, engine: str) -> Callable[[Machine], str]:
    own = engine == "own"
    ending = "" if output is None else output.suffix.lower()
    notation = notation or ENDINGS.get(ending, "mermaid" if own else "svg")
    if not own and notation != "svg":
        raise Failure(f"Graphviz is for svg here, and {notation} is text that others draw")
    return DRAWERS[notation] if own else graphviz_svg


def _drawn(
    machine: Lifecycle | str,
    url: str | None,
    writer: str | None,
    since: Moment | None,
    until: Moment | None,
) -> Machine:
    if url is not None:
        return _count(url, machine, writer, since, until)
    if (writer, since, until) != (None, None, None):
        raise Failure("--writer, --since and --until say what to count of a --log")
    if isinstance(machine, str):
        raise Failure(
            f"there is no lifecycle {machine}: say connection, node, module:NAME, or the name of "
            "one that a --module has or a --log has recorded"
        )
    return machine


def _count(
    url: str,
    machine: Lifecycle | str,
    writer: str | None,
    since: Moment | None,
    until: Moment | None,
) -> Traffic:
    if isinstance(since, Position) and since.offset == MAX_EVENTS:
        since = Position(since.frame, 0)  # from a whole frame on means from its first event
    with opened(url) as store, progress("counting", last_frame(store)) as advance:
        return traffic(store, machine, since=since, until=until, writer=writer, progress=advance)


def _json(machine: Machine) -> str:
    """What is drawn, as one line."""
    states, edges = _states(machine), _edges(machine)
    plain = {"lifecycle": machine.name, "initial": machine.initial, "states": states}
    if isinstance(machine, Traffic):
        names = ("begun", "ended", "open", "illegal", "unknown")
        plain |= {name: getattr(machine, name) for name in names}
    return msgspec.json.encode({**plain, "edges": edges}).decode() + "\n"


def _states(machine: Machine) -> list[dict[str, Any]]:
    counted = machine.states if isinstance(machine, Traffic) else {}
    return [
        {
            "state": state,
            "final": state in machine.final,
            **(attrs.asdict(counted[state]) if state in counted else {}),
        }
        for state in machine.states
    ]


def _edges(machine: Machine) -> list[dict[str, Any]]:
    counts = machine.edges if isinstance(machine, Traffic) else {}
    return [
        {
            "event": tag,
            "from": source,
            "to": dest,
            **({"count": counts[tag, source, dest]} if counts else {}),
        }
        for tag, source, dest in machine.rows()
    ]


def _write(text: str, output: Path) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise Failure(f"cannot write {output}: {problem.strerror}") from problem
