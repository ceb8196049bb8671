"""Diagrams: true to the table, readable, and harmless whatever the names hold."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transitions.extensions import GraphMachine

from rat_fsm.diagrams import dot, mermaid, svg
from rat_fsm.diagrams.__main__ import files, main
from rat_fsm.diagrams.chart import Arrow, Chart, Line, Machine, Place, _time, chart, visible
from rat_fsm.diagrams.graphviz import graphviz_svg
from rat_fsm.diagrams.layout import LINE, Layout, layout, text_width
from rat_fsm.errors import InvalidArgument
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.definitions import read_table
from rat_fsm.replay.coverage import TransitionCoverage, covered
from rat_fsm.replay.traffic import Stays, Traffic
from rat_fsm.runtime.escaping import escape
from rat_fsm.table import Lifecycle

DIAGRAMS: Final = Path(__file__).parent.parent / "diagrams"
SVG: Final = "{http://www.w3.org/2000/svg}"
HOSTILE: Final = 'a "q" <b>&amp; \\N #35; : ; {x} %% --> \x1b[31m\u202e\ud800\ufffe'


@attrs.frozen
class Gone:
    """Leads to the next state."""


@attrs.frozen
class Back:
    """Leads back."""


@attrs.frozen
class Returned:
    """Leads back, too."""


@attrs.frozen
class Noted:
    """Stays."""


def chain(*names: str, back: tuple[tuple[int, int], ...] = ()) -> Lifecycle:
    """States one after the other, with ways back from one index to another; the first notes."""
    rows = [[Gone, source, dest] for source, dest in itertools.pairwise(("new", *names))]
    rows += [[Back, names[source], names[dest]] for source, dest in back]
    return Lifecycle(
        "chain", states=names, final={names[-1]}, transitions=[*rows, [Noted, names[0], None]]
    )


SMALL: Final = Lifecycle(
    "small",
    states=("open", "end"),
    final={"end"},
    transitions=[
        [Gone, "new", "open"],
        [Noted, "open", None],
        [Back, "open", "end"],
        [Returned, "open", "end"],
    ],
)


@attrs.frozen
class Slipped:
    """Leads where nobody was."""


LOST: Final = Lifecycle(
    "small",
    states=("open", "end", "lost"),
    final={"end"},
    transitions=[
        [Gone, "new", "open"],
        [Noted, "open", None],
        [Back, ["open", "lost"], "end"],
        [Returned, "open", "end"],
        [Slipped, "open", "lost"],
    ],
)
TRAFFIC: Final = Traffic(
    "small",
    "new",
    {
        "open": Stays(1200, 2, 0.25, 90.0),
        "end": Stays(1198, 0, None, None),
        "lost": Stays(0, 0, None, None),
    },
    LOST.final,
    dict(zip(LOST.rows(), [1200, 0, 300, 0, 0, 0], strict=True)),
    begun=1200,
    ended=1198,
    open=2,
    illegal=3,
    unknown=0,
)
# Of two ways to the end tests take one; production takes the other, and stays, too.
COVERAGE: Final = covered(
    LOST,
    dict(zip(LOST.rows(), [1200, 0, 300, 0, 0, 0], strict=True)),
    dict(zip(LOST.rows(), [9, 7, 0, 0, 8_000, 0], strict=True)),
)
NOWHERE: Final = dict.fromkeys(CONNECTION.states, Stays(5, 0, None, None))


def test_mermaid() -> None:
    """Events between two states share an arrow, those that stay stand inside, `end` is quoted."""
    assert mermaid(SMALL) == (
        "stateDiagram-v2\n"
        "    open : open\n"
        "    open : noted\n"
        "    s1_ : end\n"
        "    [*] --> open : gone\n"
        "    open --> s1_ : back<br>returned\n"
        "    s1_ --> [*]\n"
    )


def test_dot() -> None:
    """The same for Graphviz, with a double border round a final state."""
    assert dot(SMALL).splitlines()[4:] == [
        '    "new" [label="", shape=circle, fillcolor=black, width=0.18];',
        '    "open" [label="open\\n\\nnoted"];',
        '    "end" [label="end", peripheries=2];',
        '    "new" -> "open" [label="gone"];',
        '    "open" -> "end" [label="back\\nreturned"];',
        "}",
    ]


@pytest.mark.parametrize("lifecycle", [CONNECTION, NODE], ids=lambda known: known.name)
def test_mermaid_agrees_with_transitions(lifecycle: Lifecycle) -> None:
    """The arrows are those that transitions' own Mermaid engine draws from the same notation."""
    machine = GraphMachine(
        states=[lifecycle.initial, *lifecycle.states],
        initial=lifecycle.initial,
        transitions=[
            [tag, source, dest] for tag, source, dest in lifecycle.rows() if source != dest
        ],
        auto_transitions=False,
        graph_engine="mermaid",
    )
    drawn: Any = machine.get_combined_graph()
    theirs = re.findall(r"^\s*(\w+) --> (\w+):", drawn.source, re.MULTILINE)
    ours = re.findall(r"^    (\w+|\[\*\]) --> (\w+) :", mermaid(lifecycle), re.MULTILINE)
    assert {(lifecycle.initial if a == "[*]" else a, b) for a, b in ours} == set(theirs)


def test_hostile_names_in_mermaid() -> None:
    """A name that could be syntax, markup or a control is its characters' numbers."""
    (line,) = [
        x for x in mermaid(chain(HOSTILE, "end")).splitlines() if "#34#59" in x or "q#34" in x
    ]
    assert re.fullmatch(r"    s0_ : [\w .,#;-]+", line)
    numbers = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), line.partition(" : ")[2])
    assert numbers == visible(HOSTILE)


def test_hostile_names_in_dot() -> None:
    """No name ends its quotes."""
    strings = r'"(?:[^"\\]|\\.)*"'
    rest = re.sub(strings, "", dot(chain(HOSTILE, 'x"', "y\\")))
    assert '"' not in rest
    assert "\x1b" not in dot(chain(HOSTILE, "end"))


def shown(picture: str) -> list[str]:
    """Every text of an SVG, in order."""
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]  # noqa: S314 - ours


def test_svg_shows_everything() -> None:
    """The picture has each state and each event, arrows that share a way and a label shown once."""
    texts = shown(svg(CONNECTION))
    assert texts.count("closing") == 3  # straight, in the lane, and the state
    assert set(texts) == {
        "lifecycle connection",
        *CONNECTION.states,
        *(tag.partition(".")[2] for tag, _, _ in CONNECTION.rows()),
    }


NAMES: Final = st.text(min_size=1, max_size=12).filter(lambda name: name not in {"new", "*", "="})


@st.composite
def lifecycles(draw: st.DrawFn) -> Lifecycle:
    """Chains with ways back and forth."""
    names = draw(st.lists(NAMES, min_size=2, max_size=6, unique=True))
    index = st.integers(0, len(names) - 1)
    pairs = draw(st.lists(st.tuples(index, index), max_size=5, unique_by=lambda pair: pair[0]))
    last = len(names) - 1
    return chain(*names, back=tuple(pair for pair in pairs if pair[0] != last))


@st.composite
def counted(draw: st.DrawFn) -> Traffic:
    """What streams may have done in such a chain; the numbers need not agree with each other."""
    lifecycle = draw(lifecycles())
    count, seconds = st.sampled_from([0, 0, 1, 12_345]), st.sampled_from([0.0, 0.5, 1e9])
    stays = st.builds(Stays, count, count, st.none() | seconds, st.none() | seconds)
    return Traffic(
        draw(NAMES),
        lifecycle.initial,
        {state: draw(stays) for state in lifecycle.states},
        lifecycle.final,
        {edge: draw(count) for edge in lifecycle.rows()},
        *(draw(st.tuples(*[count] * 5))),
    )


@st.composite
def coverages(draw: st.DrawFn) -> TransitionCoverage:
    """What tests and production may take of such a chain."""
    lifecycle, count = draw(lifecycles()), st.sampled_from([0, 0, 1, 12_345])
    tests, production = ({edge: draw(count) for edge in lifecycle.rows()} for _ in range(2))
    return covered(lifecycle, tests, draw(st.sampled_from([None, production])))


MACHINES: Final = lifecycles() | counted() | coverages()
LINES: Final = {"name", "note", "stay"}


@given(MACHINES)
def test_svg_is_sound_whatever_the_names(machine: Machine) -> None:
    """Any lifecycle gives XML in which every name is plain text."""
    assert {visible(state) for state in machine.states} <= set(shown(svg(machine)))


@given(MACHINES)
def test_no_drawing_holds_what_a_terminal_obeys(machine: Machine) -> None:
    """So that each may be printed as it is."""
    for draw in (mermaid, dot, svg):
        assert all(escape(line) == line for line in draw(machine).split("\n"))


def rectangles(placed: Layout) -> list[tuple[float, float, float, float]]:
    """Where a drawing has boxes and labels: left, top, right, bottom."""
    found = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in placed.boxes]
    middle = placed.boxes[-1].x + placed.boxes[-1].width / 2
    labels = [(n, middle + 10, 1.0, arrow.labels) for n, arrow in placed.straight.items()]
    for lane in placed.lanes:
        side = 1.0 if lane.forward else -1.0
        labels.append((lane.gap, lane.x + side * 8, side, lane.arrow.labels))
    for gap, x, side, texts in labels:
        above, below = placed.boxes[gap - 1], placed.boxes[gap]
        centre, high = (above.y + above.height + below.y) / 2, len(texts) * LINE / 2
        far = x + side * max(map(text_width, texts))
        found.append((min(x, far), centre - high, max(x, far), centre + high))
    return found


@given(MACHINES)
def test_nothing_overlaps(machine: Machine) -> None:
    """Boxes and labels stand apart from each other, within the picture."""
    placed = layout(chart(machine))
    found = rectangles(placed)
    for one, other in itertools.combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    assert all(
        x >= 0 and y >= 0 and r <= placed.width and b <= placed.height for x, y, r, b in found
    )


@given(MACHINES)
def test_the_lines_of_a_state_stand_below_each_other(machine: Machine) -> None:
    """All that is written in a box has a line of its own, and is within it."""
    drawing = ET.fromstring(svg(machine))  # noqa: S314 - ours
    inside = [x for x in drawing.iter(f"{SVG}text") if LINES & set(x.get("class", "").split())]
    heights = [float(x.get("y", "")) for x in inside]
    boxes = [box for box in layout(chart(machine)).boxes if box.place is not None]
    places = [box.place for box in boxes if box.place is not None]
    for box, place in zip(boxes, places, strict=True):
        count = 1 + len(place.notes) + len(place.lines)
        mine, heights = heights[:count], heights[count:]
        assert all(b - a >= LINE - 1 for a, b in itertools.pairwise(mine))
        assert box.y + 12 <= mine[0] <= mine[-1] <= box.y + box.height - 4
    assert heights == []


@given(MACHINES)
def test_every_edge_is_drawn_once(machine: Machine) -> None:
    """Straight arrows, lanes and the lines inside states are all the edges of the table."""
    placed = layout(chart(machine))
    order = [machine.initial, *machine.states]
    drawn = [(order[n - 1], order[n], arrow.labels) for n, arrow in placed.straight.items()]
    drawn += [(order[s], order[x.dest], x.arrow.labels) for x in placed.lanes for s in x.sources]
    places = [box.place for box in placed.boxes if box.place is not None]
    drawn += [(place.state, place.state, (line.text,)) for place in places for line in place.lines]
    names = [(a, b, label.partition(" ")[0]) for a, b, labels in drawn for label in labels]
    edges = [(source, dest, tag.partition(".")[2]) for tag, source, dest in machine.rows()]
    assert sorted(names) == sorted(edges)


def test_the_chart_of_traffic() -> None:
    """Counts stand beside events, stays in states; what never happened has arrows of its own."""
    assert chart(TRAFFIC) == Chart(
        name="small",
        title="small: 1,200 begun, 1,198 ended, 2 open, 3 illegal",
        initial="new",
        places=(
            Place(
                "open",
                (Line("noted 0", used=False),),
                ("entered 1,200, now 2", "median 250 ms, p90 1.5 min"),
            ),
            Place("end", (), ("entered 1,198",), final=True),
            Place("lost", (), ("entered 0, now 0",), used=False),
        ),
        arrows=(
            Arrow("new", "open", ("gone 1,200",), used=True, share=1.0),
            Arrow("open", "end", ("back 300",), used=True, share=0.25),
            Arrow("open", "end", ("returned 0",), used=False, share=0.0),
            Arrow("open", "lost", ("slipped 0",), used=False, share=0.0),
            Arrow("lost", "end", ("back 0",), used=False, share=0.0),
        ),
        counted=True,
    )


def test_mermaid_of_traffic() -> None:
    """Unused arrows say so, unused states are dashed, and the title counts the streams."""
    assert mermaid(TRAFFIC) == (
        "---\n"
        'title: "small: 1,200 begun, 1,198 ended, 2 open, 3 illegal"\n'
        "---\n"
        "stateDiagram-v2\n"
        "    open : open\n"
        "    open : entered 1,200, now 2<br>median 250 ms, p90 1.5 min<br>noted 0\n"
        "    s1_ : end\n"
        "    s1_ : entered 1,198\n"
        "    lost : lost\n"
        "    lost : entered 0, now 0\n"
        "    [*] --> open : gone 1,200\n"
        "    open --> s1_ : back 300\n"
        "    open --> s1_ : never<br>returned 0\n"
        "    open --> lost : never<br>slipped 0\n"
        "    lost --> s1_ : never<br>back 0\n"
        "    s1_ --> [*]\n"
        "    classDef never fill:#ffffff,stroke:#6e7781,stroke-dasharray:5 4,color:#6e7781\n"
        "    class lost never\n"
    )


def test_dot_of_traffic() -> None:
    """Arrows are the thicker the more often they were taken, dashed and grey where never."""
    lines = dot(TRAFFIC).splitlines()
    grey = 'color="#6e7781", fontcolor="#6e7781"'
    assert lines[1] == (
        '    graph [label="small: 1,200 begun, 1,198 ended, 2 open, 3 illegal", labelloc=t];'
    )
    assert lines[8:11] == [
        f'    "lost" [label="lost\\nentered 0, now 0", style="rounded,dashed", {grey}];',
        '    "new" -> "open" [label="gone 1,200", penwidth=3.0];',
        '    "open" -> "end" [label="back 300", penwidth=1.5];',
    ]
    assert lines[11] == f'    "open" -> "end" [label="returned 0", style=dashed, {grey}];'


def test_svg_of_traffic() -> None:
    """Used ways have a width, and what never happened stands back: one state, its text, three ways.

    Ways to one state with the same events share a lane, but not with numbers of their own.
    """
    picture = svg(TRAFFIC)
    widths = re.findall(r'<path class="way" .* style="stroke-width: ([\d.]+)"/>', picture)
    assert widths == ["3.0", "1.6"]
    kinds = Counter(re.findall(r'class="(\w+) never"', picture))
    assert kinds == {"way": 3, "box": 1, "name": 1, "note": 1, "stay": 1}
    alike = attrs.evolve(TRAFFIC, edges=dict.fromkeys(CONNECTION.rows(), 5), states=NOWHERE)
    assert len(layout(chart(alike)).lanes) == len(layout(chart(CONNECTION)).lanes) + 1


def test_the_chart_of_coverage() -> None:
    """What production takes and no test does has arrows of its own, and both numbers."""
    assert chart(COVERAGE) == Chart(
        name="small",
        title="small: tests take 2 of 6 edges (33 %), production 2 more",
        initial="new",
        places=(
            Place(
                "open",
                (Line("noted 0, production 7", used=False, untested=True),),
                ("entered 1,200",),
            ),
            Place("end", (), ("entered 300",), final=True),
            Place("lost", (), ("entered 0",), used=False),
        ),
        arrows=(
            Arrow("new", "open", ("gone 1,200",), share=1.0),
            Arrow("open", "end", ("back 300",), share=0.25),
            Arrow(
                *("open", "end", ("returned 0, production 8,000",)),
                used=False,
                untested=True,
                share=0.0,
            ),
            Arrow("open", "lost", ("slipped 0",), used=False, share=0.0),
            Arrow("lost", "end", ("back 0",), used=False, share=0.0),
        ),
        counted=True,
    )
    alone = attrs.evolve(COVERAGE, production=None)
    assert chart(alone).title == "small: tests take 2 of 6 edges (33 %)"
    assert not any(arrow.untested for arrow in chart(alone).arrows)


def test_the_notations_of_coverage() -> None:
    """What no test tries says so in Mermaid, and is red in DOT and SVG."""
    assert "    open --> s1_ : untested<br>returned 0, production 8,000\n" in mermaid(COVERAGE)
    red = 'color="#cf222e", fontcolor="#cf222e", penwidth=2.4'
    arrow = f'    "open" -> "end" [label="returned 0, production 8,000", {red}];'
    assert arrow in dot(COVERAGE).splitlines()
    kinds = Counter(re.findall(r'class="(\w+) untested"', svg(COVERAGE)))
    assert kinds == {"way": 1, "stay": 1}
    assert Counter(re.findall(r'class="(\w+) never"', svg(COVERAGE)))["way"] == 2
    assert svg(COVERAGE).count("#cf222e") > svg(TRAFFIC).count("#cf222e")


def test_a_duration_has_three_digits() -> None:
    """In the largest unit that it fills."""
    durations = {0.0: "0 ms", 0.0123456: "12.3 ms", 1.0: "1 s", 90.0: "1.5 min", 9e6: "2,500 h"}
    assert {seconds: _time(seconds) for seconds in durations} == durations


def test_a_definition_that_nobody_checked() -> None:
    """What a log calls a definition is drawn, whatever it leaves out or leads back to."""
    edges = [["a", "new", "x"], ["b.", "x", "new"], ["c", "x", "y"], ["d", "new", "new"]]
    table = read_table({"name": "n", "initial": "new", "final": ["z"], "edges": edges})
    drawn = [(arrow.source, arrow.dest, arrow.labels) for arrow in chart(table).arrows]
    assert drawn == [("new", "x", ("a",)), ("x", "new", ("b.",)), ("x", "y", ("c",))]
    assert {"x", "y", "a", "b.", "c"} <= set(shown(svg(table)))


needs_graphviz = pytest.mark.skipif(
    find_spec("graphviz") is None or shutil.which("dot") is None,
    reason="Graphviz is not installed",
)


@needs_graphviz
def test_graphviz_draws_the_same() -> None:
    """Every state, event and number is in the picture that transitions lets Graphviz make."""
    for machine in (CONNECTION, NODE, TRAFFIC, COVERAGE):
        texts = " ".join(shown(graphviz_svg(machine)))
        drawn = chart(machine)
        words = [drawn.title, *(label for arrow in drawn.arrows for label in arrow.labels)]
        words += [text for p in drawn.places for text in (p.state, *p.notes)]
        words += [line.text for place in drawn.places for line in place.lines]
        assert [word for word in words if word not in texts] == []


@needs_graphviz
def test_graphviz_shows_what_is_untested() -> None:
    """One untested event makes the arrow red that stands for all between two states."""
    assert "#cf222e" in graphviz_svg(COVERAGE)
    assert "#cf222e" not in graphviz_svg(attrs.evolve(COVERAGE, production=None))


@needs_graphviz
def test_graphviz_shows_hostile_names_as_text() -> None:
    """No name is markup, an escape, a port or a keyword to Graphviz."""
    names = (HOSTILE, 'x"', "a:b", "<hr>", "y\\", "node")
    assert {visible(name) for name in names} <= set(shown(graphviz_svg(chain(*names))))


@needs_graphviz
def test_graphviz_without_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says that the program is missing, and that we need none."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidArgument, match=r"Graphviz cannot draw: .*rat_fsm draws without it"):
        graphviz_svg(CONNECTION)


def test_graphviz_without_its_package(tmp_path: Path) -> None:
    """The error names the extra, in an interpreter that has no such package."""
    script = (
        "import sys; sys.modules['graphviz'] = None\n"
        "from rat_fsm.diagrams.graphviz import graphviz_svg\n"
        "from rat_fsm.lifecycles import NODE\n"
        "try: graphviz_svg(NODE)\n"
        "except ImportError as problem: print(problem)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert (
        result.stdout == "drawing with Graphviz needs an extra: pip install 'rat-fsm[diagrams]'\n"
    )


def test_the_diagrams_are_current() -> None:
    """diagrams/ holds what the code draws now; `python -m rat_fsm.diagrams` writes it."""
    assert main([str(DIAGRAMS), "--check"]) == 0


def test_writing_and_checking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes every file, and its check names those that differ or are missing."""
    folder = tmp_path / "new"
    assert main([str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == set(files())
    assert main([str(folder), "--check"]) == 0
    (folder / "node.svg").unlink()
    (folder / "node.mmd").write_text("", encoding="utf-8")
    assert main([str(folder), "--check"]) == 1
    names = [
        Path(line.partition(" is stale")[0]).name for line in capsys.readouterr().err.splitlines()
    ]
    assert sorted(names) == ["node.mmd", "node.svg"]
