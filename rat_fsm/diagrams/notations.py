"""A lifecycle in two notations that others draw: Mermaid, as on GitHub, and Graphviz DOT."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from rat_fsm.diagrams.chart import chart, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rat_fsm.diagrams.chart import Arrow, Machine, Place

# Everything else gets an id of ours, which ends in an underscore and so meets none of these.
_MERMAID_ID: Final = re.compile(r"[A-Za-z](?:\w*[A-Za-z0-9])?", re.ASCII)
_MERMAID_WORDS: Final = frozenset(
    {
        *("as", "class", "classdef", "click", "default", "direction", "end"),
        *("hide", "note", "root", "scale", "state", "style"),
    }
)
_MERMAID_NEVER: Final = "fill:#ffffff,stroke:#6e7781,stroke-dasharray:5 4,color:#6e7781"
_DOT_NEVER: Final = 'color="#6e7781", fontcolor="#6e7781"'
_DOT_UNTESTED: Final = ', color="#cf222e", fontcolor="#cf222e", penwidth=2.4'
_NOT_PLAIN: Final = re.compile(r"[^\w .,-]")


def mermaid(machine: Machine) -> str:
    """A Mermaid ``stateDiagram-v2``. Events that change no state stand inside theirs.

    Mermaid cannot dash or colour the arrows of a state diagram, so those that were never taken say
    so, and those that production took and no test.
    """
    drawn = chart(machine)
    ids = {place.state: _mermaid_id(n, place.state) for n, place in enumerate(drawn.places)}
    ids[drawn.initial] = "[*]"
    lines = [line for place in drawn.places for line in _mermaid_place(ids, place)]
    lines += [
        f"{ids[arrow.source]} --> {ids[arrow.dest]} : {_mermaid_lines(_told(arrow))}"
        for arrow in drawn.arrows
    ]
    lines += [f"{ids[place.state]} --> [*]" for place in drawn.places if place.final]
    never = [ids[place.state] for place in drawn.places if not place.used]
    if never:
        lines += [f"classDef never {_MERMAID_NEVER}", f"class {', '.join(never)} never"]
    title = json.dumps(visible(drawn.title), ensure_ascii=False)  # which is YAML, too
    head = f"---\ntitle: {title}\n---\n" if drawn.counted else ""
    return f"{head}stateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines)


def _told(arrow: Arrow) -> Sequence[str]:
    if arrow.untested:
        return ("untested", *arrow.labels)
    return arrow.labels if arrow.used else ("never", *arrow.labels)


def _mermaid_id(number: int, state: str) -> str:
    plain = _MERMAID_ID.fullmatch(state) and state.lower() not in _MERMAID_WORDS
    return state if plain else f"s{number}_"


def _mermaid_place(ids: dict[str, str], place: Place) -> list[str]:
    """The name first: a second text would take its place instead of standing below it."""
    below = [*place.notes, *(line.text for line in place.lines)]
    texts = [place.state] if below or ids[place.state] != place.state else []
    lines = [f"{ids[place.state]} : {_mermaid_text(text)}" for text in texts]
    return [*lines, f"{ids[place.state]} : {_mermaid_lines(below)}"] if below else lines


def _mermaid_lines(names: Iterable[str]) -> str:
    return "<br>".join(map(_mermaid_text, names))


def _mermaid_text(text: str) -> str:
    """Whatever could be markup or syntax as the number of its character."""
    return _NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", visible(text))


def dot(machine: Machine) -> str:
    """A Graphviz digraph. Events that change no state stand inside theirs."""
    drawn = chart(machine)
    start = _quoted(drawn.initial)
    lines = [f"graph [label={_quoted(drawn.title)}, labelloc=t]"] if drawn.counted else []
    lines += [
        'graph [fontname="Helvetica", ranksep=0.5, nodesep=0.4]',
        'node [fontname="Helvetica", shape=box, style="rounded,filled", fillcolor="#f6f8fa"]',
        'edge [fontname="Helvetica", fontsize=11]',
        f'{start} [label="", shape=circle, fillcolor=black, width=0.18]',
    ]
    lines += map(_dot_place, drawn.places)
    lines += map(_dot_arrow, drawn.arrows)
    return f"digraph {_quoted(drawn.name)} {{\n" + "".join(f"    {x};\n" for x in lines) + "}\n"


def _dot_place(place: Place) -> str:
    below = [*place.notes, *([""] if place.lines else []), *(line.text for line in place.lines)]
    border = ", peripheries=2" if place.final else ""
    never = "" if place.used else f', style="rounded,dashed", {_DOT_NEVER}'
    return f"{_quoted(place.state)} [label={_quoted(place.state, *below)}{border}{never}]"


def _dot_arrow(arrow: Arrow) -> str:
    width = f", penwidth={1 + 2 * arrow.share:.1f}" if arrow.share else ""
    never = "" if arrow.used else f", style=dashed, {_DOT_NEVER}"
    never = _DOT_UNTESTED if arrow.untested else never
    ends = f"{_quoted(arrow.source)} -> {_quoted(arrow.dest)}"
    return f"{ends} [label={_quoted(*arrow.labels)}{width}{never}]"


def _quoted(*lines: str) -> str:
    """A quoted string. Graphviz reads entities and backslashes even there."""
    return '"' + "\\n".join(map(_dot_text, lines)) + '"'


def _dot_text(text: str) -> str:
    entities = visible(text).replace("&", "&amp;")
    return entities.replace("\\", "\\\\").replace('"', '\\"')
