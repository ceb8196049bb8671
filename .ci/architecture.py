# ruff: noqa: INP001 - scripts of this repository, no package
"""Draws the layers of the house from import-linter's contract in pyproject.toml."""

from __future__ import annotations

import ast
import textwrap
import tomllib
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.diagrams.svg import MONO, SANS, document, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The groups of the house, from above: its name, what it may use, the layer that begins it.
GROUPS: Final = (
    ("the outside", "extras, imported lazily", "testing"),
    ("running", "clocks and threads begin", "runtime"),
    ("log", "files begin", "replay"),
    ("reading", "pure folds", "monitors"),
    ("machine", "pure decisions", "core"),
    ("words", "attrs only", "events"),
)
COLOURS: Final = ("#57606a", "#8250df", "#0969da", "#1a7f37", "#bc4c00", "#bf3989")
ROW: Final = 4  # boxes side by side
BOX: Final = 184.0
HEIGHT: Final = 92.0
SPACE: Final = 12.0
LEFT: Final = 176.0
STYLE: Final = f"""
text {{ font-family: {SANS}; font-size: 11px; fill: #57606a }}
.group {{ font-size: 16px; font-weight: 600 }}
.name {{ font-family: {MONO}; font-size: 13px; font-weight: 600; fill: #1f2328 }}
"""


@attrs.frozen
class Group:
    """Modules of one group, those above first: name → what the module says it is for."""

    name: str
    gloss: str
    modules: dict[str, str]


def groups(root: Path) -> list[Group]:
    """The groups as pyproject.toml layers them, with the modules that exist."""
    found: dict[str, dict[str, str]] = {}
    starts = {first: name for name, _, first in GROUPS}
    group = ""
    for layer in _layers(root):
        group = starts.get(layer[0], group)
        modules = {name: _purpose(root / "rat_fsm", name) for name in layer}
        found.setdefault(group, {}).update({n: p for n, p in modules.items() if p})
    if list(found) != [name for name, _, _ in GROUPS]:
        raise ValueError(f"the layers in pyproject.toml begin other groups: {list(found)}")
    return [Group(name, gloss, found[name]) for name, gloss, _ in GROUPS]


def _layers(root: Path) -> list[list[str]]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in layer.split(":")] for layer in layers]


def _purpose(package: Path, module: str) -> str:
    """The first sentence of a module's docstring, nothing where there is no such module."""
    for path in (package / f"{module}.py", package / module / "__init__.py"):
        if path.is_file():
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or module
            sentence = " ".join(about.split("\n\n")[0].split()).partition(". ")[0]
            return sentence.rstrip(".").replace("`", "")
    return ""


def mermaid(root: Path) -> str:
    """A flowchart: a subgraph for each group, arrows for the way that imports go."""
    lines = ["flowchart TB"]
    for n, group in enumerate(groups(root)):
        lines.append(f'    subgraph g{n}["{group.name}: {group.gloss}"]')
        lines.append("        direction TB")
        lines += [f"        {name}_[{name}]" for name in group.modules]
        lines.append("    end")
    lines += [f"    g{n} --> g{n + 1}" for n in range(len(GROUPS) - 1)]
    return "\n".join(lines) + "\n"


def svg(root: Path) -> str:
    """The same as a picture, with what each module is for."""
    parts: list[str] = []
    y = SPACE
    for group, colour in zip(groups(root), COLOURS, strict=True):
        rows = -(-len(group.modules) // ROW)
        height = rows * (HEIGHT + SPACE) + SPACE
        parts += _band(group, y, height, colour)
        y += height + SPACE
    about = "The layers of rat_fsm; imports go down"
    return document(_width(), y, about, STYLE, parts)


def _width() -> float:
    return LEFT + ROW * (BOX + SPACE) + SPACE


def _band(group: Group, y: float, height: float, colour: str) -> Iterator[str]:
    yield (
        f'<rect x="{SPACE}" y="{y}" width="{_width() - 2 * SPACE}" height="{height}"'
        f' rx="10" fill="{colour}" fill-opacity="0.09"/>'
    )
    yield text(2.2 * SPACE, y + 32, group.name, "group", colour)
    yield text(2.2 * SPACE, y + 50, group.gloss)
    for number, (name, purpose) in enumerate(group.modules.items()):
        row, column = divmod(number, ROW)
        x = LEFT + column * (BOX + SPACE)
        yield from _box(x, y + SPACE + row * (HEIGHT + SPACE), name, purpose, colour)


def _box(x: float, y: float, name: str, purpose: str, colour: str) -> Iterator[str]:
    yield (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="7" fill="#ffffff"'
        f' stroke="{colour}" stroke-opacity="0.5"/>'
    )
    yield text(x + 10, y + 20, name, "name")
    for number, line in enumerate(
        textwrap.wrap(purpose, 28, max_lines=4, placeholder=" …", break_long_words=False)
    ):
        yield text(x + 10, y + 37 + 14 * number, line)


def files(root: Path) -> dict[str, str]:
    """File name → content."""
    return {"architecture.mmd": mermaid(root), "architecture.svg": svg(root)}
