"""Draws a lifecycle with Graphviz, through the diagrams that `transitions` makes of its machines.

Left to itself `transitions` draws a loop for the events that change no state, and Graphviz lets
their labels run into one another. So the machine that is handed over here has one transition for
each arrow, and what happens inside a state stands in it, as in our other drawings.
"""

from __future__ import annotations

import subprocess
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from transitions.extensions import GraphMachine

from rat_fsm.diagrams.chart import chart, visible
from rat_fsm.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    from rat_fsm.diagrams.chart import Chart, Machine, Place

_START: Final = "start"
_FONT: Final = {"fontname": "Helvetica"}
_DOT: Final = {"shape": "circle", "fillcolor": "black", "width": "0.18", "fontsize": "1"}
_BOX: Final = {
    "shape": "box",
    "style": "rounded,filled",
    "fillcolor": "#f6f8fa",
    "width": "0",
    **_FONT,
}
_NEVER: Final = {"color": "#6e7781", "fontcolor": "#6e7781"}
_UNTESTED: Final = {"color": "#cf222e", "fontcolor": "#cf222e", "penwidth": "2.4"}
_DASHED: Final = {"style": "rounded,dashed", **_NEVER}
_TWICE: Final = {"peripheries": "2"}
_GRAPH: Final = {"rankdir": "TB", "nodesep": "0.4", "labelloc": "t", **_FONT}
# By the names that `_style` gives; `transitions` itself calls the initial state active.
_STYLES: Final = {
    "node": {
        "default": _BOX,
        "active": _DOT,
        "final": _TWICE,
        "never": _DASHED,
        "never final": {**_DASHED, **_TWICE},
    },
    "edge": {
        "default": {"fontsize": "11", **_FONT},
        "never": {"style": "dashed", **_NEVER},
        "untested": _UNTESTED,
    },
}


def graphviz_svg(machine: Machine) -> str:
    """A picture of a lifecycle, or of what was counted of it, as Graphviz places it.

    Arrows between the same two states are one, dashed where none of their events was ever met, red
    where production met one that no test did.
    The picture differs with the version of Graphviz and the fonts it finds; `rat_fsm.diagrams.svg`
    is the same everywhere.

    Raises:
        MissingExtra: the package ``graphviz`` is not installed.
        InvalidArgument: the program ``dot`` is not installed, or it fails.
    """
    if find_spec("graphviz") is None:
        raise MissingExtra("drawing with Graphviz", "diagrams")
    graph = _graph(chart(machine))
    try:
        picture: bytes = graph.draw(None, format="svg", prog="dot")
    except (RuntimeError, OSError, subprocess.CalledProcessError) as problem:
        raise InvalidArgument(
            f"Graphviz cannot draw: {problem}; rat_fsm draws without it, too"
        ) from problem
    return picture.decode()


def _graph(drawn: Chart) -> Any:
    """The graph of a machine with ids of ours, so that no name means anything to Graphviz."""
    ids = {place.state: f"s{number}" for number, place in enumerate(drawn.places)}
    ids[drawn.initial] = _START
    machine: Any = GraphMachine(
        states=list(ids.values()),
        initial=_START,
        auto_transitions=False,
        graph_engine="graphviz",
        title=_text(drawn.title),
    )
    machine.machine_attributes, machine.style_attributes = _GRAPH, _STYLES
    machine.get_state(_START).label = " "
    for place in drawn.places:
        machine.get_state(ids[place.state]).label = _label(place)
    for number, arrow in enumerate(drawn.arrows):
        label = "\\n".join(map(_text, arrow.labels))
        machine.add_transition(f"t{number}", ids[arrow.source], ids[arrow.dest], label=label)
    _style(machine, drawn, ids)
    return machine.get_combined_graph()


def _style(machine: Any, drawn: Chart, ids: dict[str, str]) -> None:
    graph = machine.model_graphs[id(machine)]
    for place in drawn.places:
        kinds = [*([] if place.used else ["never"]), *(["final"] if place.final else [])]
        graph.custom_styles["node"][ids[place.state]] = " ".join(kinds)
    # Of several between the same states the last one decides: an untested one, else one used.
    for arrow in sorted(drawn.arrows, key=lambda arrow: (arrow.untested, arrow.used)):
        kind = "untested" if arrow.untested else "" if arrow.used else "never"
        graph.custom_styles["edge"][ids[arrow.source]][ids[arrow.dest]] = kind


def _label(place: Place) -> str:
    """Its name, and the rest to the left, where `transitions` puts the last line."""
    stays = [line.text for line in place.lines]
    below = [*place.notes, *([""] if stays else []), *stays]
    name = _text(place.state)
    return f"{name}\\n" + "\\l".join(map(_text, below)) if below else name


def _text(text: str) -> str:
    """Text that is neither markup nor an escape to Graphviz."""
    return escape(visible(text)).replace("\\", "\\\\")
