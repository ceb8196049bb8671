"""Where everything stands: states in one column, skipping arrows in lanes beside it.

Lifecycles have few states and a direction, so one column in the order of their declaration reads
like the life it describes. An arrow to the next state goes straight down. Any other runs in a
lane, forward ones on the right and backward ones on the left; arrows to one state with the same
events share theirs, unless each has numbers of its own. Nothing can overlap: labels stand in the
gaps, stubs leave from boxes.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.diagrams.chart import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.diagrams.chart import Arrow, Chart, Place

NARROW: Final = 7.25  # a character of 12 px monospace, with a little air
BOLD: Final = 10.4  # a character of a state's name in the widest font we have met
LINE: Final = 16.0
HEAD: Final = 36.0
DOT: Final = 14.0
GAP: Final = 44.0
PAD: Final = 18.0
MARGIN: Final = 24.0
TITLE: Final = 30.0
LANE: Final = 26.0


@attrs.define
class Box:
    """A state, or the dot before the first; ``x`` and ``y`` are its upper left corner."""

    place: Place | None
    x: float = 0.0
    y: float = 0.0
    width: float = DOT
    height: float = DOT

    @property
    def rule(self) -> float:
        """How far below its top its events begin."""
        notes = self.place.notes if self.place is not None else ()
        return HEAD + (len(notes) * LINE + 6 if notes else 0)


@attrs.define
class Lane:
    """Arrows that share a way: from the ``sources`` to ``dest``, by index; ``x`` is its line.

    ``arrow`` is one of them, which is like the others but for its source.
    """

    sources: tuple[int, ...]
    dest: int
    arrow: Arrow
    x: float = 0.0
    ports: dict[int, float] = attrs.field(factory=dict)

    @property
    def forward(self) -> bool:
        """Whether it leads down, on the right."""
        return self.dest > self.sources[0]

    @property
    def span(self) -> int:
        """How many boxes it passes."""
        return max(abs(source - self.dest) for source in self.sources)

    @property
    def gap(self) -> int:
        """The gap that its label stands in, named by the box below it."""
        return self.dest if self.forward else self.dest + 1


@attrs.define
class Layout:
    """A drawing without its style; ``straight`` are the arrows to the next box, by its index."""

    boxes: list[Box]
    title: str
    straight: dict[int, Arrow] = attrs.field(factory=dict)
    lanes: list[Lane] = attrs.field(factory=list)
    width: float = 0.0
    height: float = 0.0


def layout(chart: Chart) -> Layout:
    """Places a chart."""
    placed = Layout([Box(None), *map(_box, chart.places)], chart.title)
    _route(placed, chart)
    _place_boxes(placed)
    _place_lanes(placed)
    _place_ports(placed)
    return placed


def text_width(text: str, character: float = NARROW) -> float:
    """About how wide a text is; East Asian characters take two columns."""
    shown = visible(text)
    return character * sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in shown)


def _box(place: Place) -> Box:
    texts = [*(line.text for line in place.lines), *place.notes]
    width = max(text_width(place.state, BOLD), *map(text_width, texts), 100.0) + 2 * PAD
    box = Box(place, width=width)
    box.height = box.rule + (len(place.lines) * LINE + 14 if place.lines else 0)
    return box


def _route(placed: Layout, chart: Chart) -> None:
    """Sorts the arrows into straight ones and lanes, the shortest lanes first."""
    index = {state: n for n, state in enumerate((chart.initial, *(p.state for p in chart.places)))}
    shared: dict[tuple[object, ...], Lane] = {}
    for arrow in chart.arrows:
        source, dest = index[arrow.source], index[arrow.dest]
        if dest == source + 1 and dest not in placed.straight:
            placed.straight[dest] = arrow
            continue
        own = source if arrow.share else None
        key = (dest, arrow.labels, arrow.used, arrow.untested, dest > source, own)
        lane = shared.setdefault(key, Lane((), dest, arrow))
        lane.sources += (source,)
    placed.lanes = sorted(shared.values(), key=lambda lane: (lane.span, lane.dest))


def _place_boxes(placed: Layout) -> None:
    width = max(box.width for box in placed.boxes)
    y = MARGIN + TITLE
    for n, box in enumerate(placed.boxes):
        y += _gap(placed, n) if n else 0.0
        box.width = width if n else DOT
        box.x, box.y = -box.width / 2, y
        y += box.height
    placed.height = y + MARGIN


def _gap(placed: Layout, n: int) -> float:
    """The space above a box: room for the most lines of any label there."""
    arrows = [lane.arrow for lane in placed.lanes if lane.gap == n]
    arrows += [placed.straight[n]] if n in placed.straight else []
    most = max((len(arrow.labels) for arrow in arrows), default=0)
    return max(GAP, most * LINE + 28)


def _place_lanes(placed: Layout) -> None:
    half = placed.boxes[-1].width / 2
    beside = max((_widest(a.labels) for a in placed.straight.values()), default=0.0) + 10
    right = _outward([lane for lane in placed.lanes if lane.forward], max(half, beside), 1)
    left = _outward([lane for lane in placed.lanes if not lane.forward], half, -1)
    _move(placed, MARGIN + left)
    placed.width = max(left + right, text_width(placed.title, BOLD)) + 2 * MARGIN


def _outward(lanes: list[Lane], edge: float, direction: int) -> float:
    for lane in lanes:
        lane.x = direction * (edge + LANE)
        edge += LANE + 8 + _widest(lane.arrow.labels)
    return edge


def _widest(labels: Sequence[str]) -> float:
    return max(map(text_width, labels))


def _move(placed: Layout, by: float) -> None:
    things: list[Box | Lane] = [*placed.boxes, *placed.lanes]
    for thing in things:
        thing.x += by


def _place_ports(placed: Layout) -> None:
    """Spreads the ends of the lanes over the sides of each box, so that few of them cross."""
    for n, box in enumerate(placed.boxes):
        for forward in (True, False):
            side = [lane for lane in placed.lanes if lane.forward is forward]
            coming = [lane for lane in side if lane.dest == n]
            going = [lane for lane in side if n in lane.sources]
            ends = [*coming, *reversed(going)]
            for number, lane in enumerate(ends if forward else reversed(ends), 1):
                lane.ports[n] = box.y + box.height * number / (len(ends) + 1)
