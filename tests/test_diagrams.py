"""Diagrams: true to the table, readable, and harmless whatever the names hold."""

from __future__ import annotations

import itertools
import re
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
from rat_fsm.diagrams.arrows import arrows, staying, visible
from rat_fsm.diagrams.layout import LINE, Layout, layout, text_width
from rat_fsm.lifecycles import CONNECTION, NODE
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


@given(lifecycles())
def test_svg_is_sound_whatever_the_names(lifecycle: Lifecycle) -> None:
    """Any lifecycle gives XML in which every name is plain text."""
    assert {visible(state) for state in lifecycle.states} <= set(shown(svg(lifecycle)))


def rectangles(placed: Layout) -> list[tuple[float, float, float, float]]:
    """Where a drawing has boxes and labels: left, top, right, bottom."""
    found = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in placed.boxes]
    middle = placed.boxes[-1].x + placed.boxes[-1].width / 2
    labels = [(n, middle + 10, 1.0, texts) for n, texts in placed.straight.items()]
    for lane in placed.lanes:
        side = 1.0 if lane.forward else -1.0
        labels.append((lane.gap, lane.x + side * 8, side, lane.labels))
    for gap, x, side, texts in labels:
        above, below = placed.boxes[gap - 1], placed.boxes[gap]
        centre, high = (above.y + above.height + below.y) / 2, len(texts) * LINE / 2
        far = x + side * max(map(text_width, texts))
        found.append((min(x, far), centre - high, max(x, far), centre + high))
    return found


@given(lifecycles())
def test_nothing_overlaps(lifecycle: Lifecycle) -> None:
    """Boxes and labels stand apart from each other, within the picture."""
    placed = layout(lifecycle)
    found = rectangles(placed)
    for one, other in itertools.combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    assert all(
        x >= 0 and y >= 0 and r <= placed.width and b <= placed.height for x, y, r, b in found
    )


@given(lifecycles())
def test_every_edge_is_drawn_once(lifecycle: Lifecycle) -> None:
    """Straight arrows, lanes and the lines inside states are all the edges of the table."""
    placed = layout(lifecycle)
    order = [lifecycle.initial, *lifecycle.states]
    drawn = [(order[n - 1], order[n], labels) for n, labels in placed.straight.items()]
    drawn += [(order[s], order[x.dest], x.labels) for x in placed.lanes for s in x.sources]
    drawn += [(box.state, box.state, box.lines) for box in placed.boxes if box.lines]
    expected = [(arrow.source, arrow.dest, arrow.labels) for arrow in arrows(lifecycle)]
    stays = {state: staying(lifecycle, state) for state in lifecycle.states}
    expected += [(state, state, labels) for state, labels in stays.items() if labels]
    assert sorted(drawn) == sorted(expected)


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
