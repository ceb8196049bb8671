"""A lifecycle in two notations that others draw: Mermaid, as on GitHub, and Graphviz DOT."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rat_fsm.diagrams.arrows import arrows, staying, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.table import Lifecycle

# Everything else gets an id of ours, which ends in an underscore and so meets none of these.
_MERMAID_ID: Final = re.compile(r"[A-Za-z](?:\w*[A-Za-z0-9])?", re.ASCII)
_MERMAID_WORDS: Final = frozenset(
    {
        *("as", "class", "classdef", "click", "default", "direction", "end"),
        *("hide", "note", "root", "scale", "state", "style"),
    }
)
_NOT_PLAIN: Final = re.compile(r"[^\w .,-]")


def mermaid(lifecycle: Lifecycle) -> str:
    """A Mermaid ``stateDiagram-v2``. Events that change no state stand inside theirs."""
    ids = {state: _mermaid_id(n, state) for n, state in enumerate(lifecycle.states)}
    ids[lifecycle.initial] = "[*]"
    lines = [line for state in lifecycle.states for line in _mermaid_state(lifecycle, ids, state)]
    lines += [
        f"{ids[arrow.source]} --> {ids[arrow.dest]} : {_mermaid_lines(arrow.labels)}"
        for arrow in arrows(lifecycle)
    ]
    lines += [f"{ids[state]} --> [*]" for state in lifecycle.states if state in lifecycle.final]
    return "stateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines)


def _mermaid_id(number: int, state: str) -> str:
    plain = _MERMAID_ID.fullmatch(state) and state.lower() not in _MERMAID_WORDS
    return state if plain else f"s{number}_"


def _mermaid_state(lifecycle: Lifecycle, ids: dict[str, str], state: str) -> list[str]:
    """The name first: a second text would take its place instead of standing below it."""
    stays = staying(lifecycle, state)
    texts = [state] if stays or ids[state] != state else []
    lines = [f"{ids[state]} : {_mermaid_text(text)}" for text in texts]
    return [*lines, f"{ids[state]} : {_mermaid_lines(stays)}"] if stays else lines


def _mermaid_lines(names: Iterable[str]) -> str:
    return "<br>".join(map(_mermaid_text, names))


def _mermaid_text(text: str) -> str:
    """Whatever could be markup or syntax as the number of its character."""
    return _NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", visible(text))


def dot(lifecycle: Lifecycle) -> str:
    """A Graphviz digraph. Events that change no state stand inside theirs."""
    start = _quoted(lifecycle.initial)
    lines = [
        'graph [fontname="Helvetica", ranksep=0.5, nodesep=0.4]',
        'node [fontname="Helvetica", shape=box, style="rounded,filled", fillcolor="#f6f8fa"]',
        'edge [fontname="Helvetica", fontsize=11]',
        f'{start} [label="", shape=circle, fillcolor=black, width=0.18]',
    ]
    lines += [_dot_state(lifecycle, state) for state in lifecycle.states]
    lines += [
        f"{_quoted(arrow.source)} -> {_quoted(arrow.dest)} [label={_quoted(*arrow.labels)}]"
        for arrow in arrows(lifecycle)
    ]
    return f"digraph {_quoted(lifecycle.name)} {{\n" + "".join(f"    {x};\n" for x in lines) + "}\n"


def _dot_state(lifecycle: Lifecycle, state: str) -> str:
    stays = staying(lifecycle, state)
    label = _quoted(state, "", *stays) if stays else _quoted(state)
    border = ", peripheries=2" if state in lifecycle.final else ""
    return f"{_quoted(state)} [label={label}{border}]"


def _quoted(*lines: str) -> str:
    """A quoted string. Graphviz reads entities and backslashes even there."""
    return '"' + "\\n".join(map(_dot_text, lines)) + '"'


def _dot_text(text: str) -> str:
    entities = visible(text).replace("&", "&amp;")
    return entities.replace("\\", "\\\\").replace('"', '\\"')
