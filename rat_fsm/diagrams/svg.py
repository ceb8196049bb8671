"""Draws a layout as SVG that needs nothing: no script, no font, no style from outside."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from rat_fsm.diagrams.chart import Place, chart, visible
from rat_fsm.diagrams.layout import HEAD, LINE, MARGIN, layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.diagrams.chart import Arrow, Line, Machine
    from rat_fsm.diagrams.layout import Box, Lane, Layout

SANS: Final = "'Helvetica Neue', Helvetica, Arial, sans-serif"
MONO: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
INK: Final = "#1f2328"
GREY: Final = "#6e7781"  # light, and yet dark enough for text on white
RED: Final = "#cf222e"  # likewise
# Apart from each other for most colour-blind readers, and dark enough for text on white.
COLOURS: Final = ("#0969da", "#bc4c00", "#8250df", "#1a7f37", "#bf3989", "#57606a")
STYLE: Final = f"""
text {{ font-family: {MONO}; font-size: 12px; fill: {INK} }}
.name {{ font-family: {SANS}; font-size: 15px; font-weight: 600; text-anchor: middle }}
.title {{ font-family: {SANS}; font-size: 13px; fill: #57606a }}
.stay {{ text-anchor: middle; fill: #57606a }}
.end {{ text-anchor: end }}
.box {{ fill: #f6f8fa; stroke: #57606a; stroke-width: 1.2 }}
.inner {{ fill: none; stroke: #57606a; stroke-width: 1.2 }}
.rule {{ stroke: #d0d7de; stroke-width: 1 }}
.way {{ fill: none; stroke-width: 1.5 }}
"""
# Only where events were counted: what never happened is there to be seen, and stands back; what
# happens and no test tries steps forward.
COUNTED: Final = f""".note {{ text-anchor: middle }}
.stay {{ fill: {INK} }}
.never {{ fill: {GREY} }}
.never.way {{ fill: none; stroke-dasharray: 5 4; stroke-width: 1.2 }}
.never.box, .never.inner {{ fill: #ffffff; stroke: {GREY}; stroke-dasharray: 5 4 }}
.untested {{ fill: {RED}; font-weight: 600 }}
.untested.way {{ fill: none; stroke-width: 2.4 }}
"""
ROUND: Final = 8.0
ARROW: Final = 8.0


def svg(machine: Machine) -> str:
    """A picture of a lifecycle; names are shown as text, whatever they hold.

    Given its `Traffic`, each arrow is the thicker the more often it was taken, and dashed and
    grey where it never was; given its `TransitionCoverage`, also red where production took it and
    no test did. It is ours rather than Graphviz's because it needs no other program,
    comes out the same everywhere, and leaves every label beside its own arrow.
    """
    drawn = chart(machine)
    placed = layout(drawn)
    parts = [text(MARGIN, MARGIN + 8, placed.title, "title"), *_straight(placed)]
    for number, lane in enumerate(placed.lanes):
        parts += _lane(placed, lane, COLOURS[number % len(COLOURS)])
    parts += [part for box in placed.boxes for part in _box(box)]
    about = f"States and events of the lifecycle {visible(drawn.name)}"
    style = STYLE + COUNTED if drawn.counted else STYLE
    return document(placed.width, placed.height, about, style, parts)


def document(width: float, height: float, about: str, style: str, parts: Iterable[str]) -> str:
    """A whole SVG file on a white card, which a dark page cannot make unreadable."""
    size = f'width="{width:g}" height="{height:g}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size}'
        f' role="img" aria-label="{escape(about)}">\n<style>{style}</style>\n'
        f'<rect {size} rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, content: str, kind: str = "", colour: str = "") -> str:
    """A line of text with its baseline at ``y``."""
    style = f' style="fill: {colour}"' if colour else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{name}{style}>{escape(visible(content))}</text>'


def _box(box: Box) -> Iterator[str]:
    middle = box.x + box.width / 2
    if box.place is None:
        yield f'<circle cx="{middle:g}" cy="{box.y + 7:g}" r="7" fill="{INK}"/>'
        return
    yield _rect(box, 0, _kind("box", box.place))
    if box.place.final:
        yield _rect(box, 3.5, _kind("inner", box.place))
    yield text(middle, box.y + HEAD / 2 + 5, box.place.state, _kind("name", box.place))
    for number, note in enumerate(box.place.notes):
        yield text(middle, box.y + HEAD + 6 + number * LINE, note, _kind("note", box.place))
    if box.place.lines:
        y = box.y + box.rule
        yield f'<path class="rule" d="M{box.x + 12:.1f} {y:.1f}h{box.width - 24:.1f}"/>'
    for number, line in enumerate(box.place.lines, 1):
        yield text(middle, box.y + box.rule + 4 + number * LINE, line.text, _kind("stay", line))


def _kind(name: str, thing: Place | Line | Arrow) -> str:
    if not isinstance(thing, Place) and thing.untested:
        return f"{name} untested"
    return name if thing.used else f"{name} never"


def _colour(arrow: Arrow, colour: str) -> str:
    if arrow.untested:
        return RED
    return colour if arrow.used else GREY


def _rect(box: Box, inset: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{box.x + inset:.1f}" y="{box.y + inset:.1f}"'
        f' width="{box.width - 2 * inset:.1f}" height="{box.height - 2 * inset:.1f}"'
        f' rx="{10 - inset:g}"/>'
    )


def _straight(placed: Layout) -> Iterator[str]:
    for n, arrow in placed.straight.items():
        above, below = placed.boxes[n - 1], placed.boxes[n]
        x, top, bottom = below.x + below.width / 2, above.y + above.height, below.y
        colour = _colour(arrow, INK)
        yield _way(f"M{x:.1f} {top:.1f}V{bottom - ARROW:.1f}", arrow, colour)
        yield _head(x, bottom, 0.0, 1.0, colour)
        yield from _labels(x + 10, (top + bottom - 4) / 2, arrow.labels, "", colour)


def _lane(placed: Layout, lane: Lane, colour: str) -> Iterator[str]:
    """Down on the right, or up on the left, which is the same with every sign turned."""
    side = 1.0 if lane.forward else -1.0
    colour = _colour(lane.arrow, colour)
    end, into = _port(placed, lane, lane.dest)
    for source in lane.sources:
        start, out = _port(placed, lane, source)
        near, x = lane.x - side * ROUND, lane.x
        there = (
            f"M{start:.1f} {out:.1f}H{near:.1f}Q{x:.1f} {out:.1f} {x:.1f} {out + side * ROUND:.1f}"
        )
        back = f"V{into - side * ROUND:.1f}Q{x:.1f} {into:.1f} {near:.1f} {into:.1f}"
        yield _way(f"{there}{back}H{end + side * ARROW:.1f}", lane.arrow, colour)
    yield _head(end, into, -side, 0.0, colour)
    above, below = placed.boxes[lane.gap - 1], placed.boxes[lane.gap]
    middle = (above.y + above.height + below.y) / 2
    kind = "" if side > 0 else "end"
    yield from _labels(lane.x + side * 8, middle, lane.arrow.labels, kind, colour)


def _port(placed: Layout, lane: Lane, index: int) -> tuple[float, float]:
    """Where a lane touches a box."""
    box = placed.boxes[index]
    return box.x + (box.width if lane.forward else 0.0), lane.ports[index]


def _labels(x: float, middle: float, labels: tuple[str, ...], kind: str, colour: str) -> list[str]:
    first = middle + 4 - (len(labels) - 1) * LINE / 2
    return [text(x, first + n * LINE, label, kind, colour) for n, label in enumerate(labels)]


def _way(path: str, arrow: Arrow, colour: str) -> str:
    width = f' style="stroke-width: {1.2 + 1.8 * arrow.share:.1f}"' if arrow.share else ""
    return f'<path class="{_kind("way", arrow)}" stroke="{colour}" d="{path}"{width}/>'


def _head(x: float, y: float, dx: float, dy: float, colour: str) -> str:
    """An arrow's head with its tip at a point, heading along (dx, dy)."""
    base_x, base_y = x - ARROW * dx, y - ARROW * dy
    wing_x, wing_y = 0.5 * ARROW * dy, 0.5 * ARROW * dx
    return (
        f'<path fill="{colour}" d="M{x:.1f} {y:.1f}L{base_x + wing_x:.1f} {base_y + wing_y:.1f}'
        f'L{base_x - wing_x:.1f} {base_y - wing_y:.1f}z"/>'
    )
