"""rat-fsm diagram."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from rat_fsm.codec import MAX_EVENTS
from rat_fsm.diagrams import dot, mermaid, svg
from rat_fsm.events import Position
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events
from rat_fsm.replay.traffic import traffic
from rat_fsm.runtime.escaping import escape
from rat_fsm.table import Lifecycle
from tests.cli.logs import HOSTILE, Writer, a_life, change, run, write

if TYPE_CHECKING:
    from pathlib import Path

SHOP: Final = """
import attrs
from rat_fsm import Lifecycle

@attrs.frozen
class Placed:
    pass

print("shop is imported")
ORDER = Lifecycle("order", states=["done"], final={"done"}, transitions=[[Placed, "new", "done"]])
NUMBER = 7
"""
BROKEN: Final = "raise RuntimeError('\\x1b[31mbroken')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two ended connections and an open one."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"), *a_life("c2", "kicked"), *a_life("c3")[:3])
    return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of a user's in the working directory."""
    (tmp_path / "a_shop.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "broken_shop.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "a_shop"


@pytest.mark.parametrize("width", [None, 40])
def test_it_writes_mermaid(width: int | None) -> None:
    """Without options it is the text that a Markdown page draws, in whole lines everywhere."""
    assert run("diagram", width=width).stdout == mermaid(CONNECTION)
    assert run("diagram", "node", width=width).stdout == mermaid(NODE)


def test_the_format() -> None:
    """--format says which notation is wanted."""
    assert run("diagram", "--format", "dot").stdout == dot(CONNECTION)
    assert run("diagram", "node", "--format", "svg").stdout == svg(NODE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.mmd", mermaid(NODE)),
        ("x.SVG", svg(NODE)),
        ("x.dot", dot(NODE)),
        ("x.gv", dot(NODE)),
        ("x.txt", mermaid(NODE)),
    ],
)
def test_the_output_tells_the_format(tmp_path: Path, name: str, content: str) -> None:
    """A file is written in the notation that its ending stands for, over an older one, too."""
    for _ in range(2):
        result = run("diagram", "node", "--output", tmp_path / name)
        assert (result.exit_code, result.output) == (0, "")
        assert (tmp_path / name).read_text(encoding="utf-8") == content


def test_the_traffic_of_a_log(path: Path) -> None:
    """--log draws what happened: all of it, or what its options say."""
    assert run("diagram", "--log", path).stdout == mermaid(traffic(path))
    result = run("diagram", "--log", f"sqlite:{path}", "--format", "svg", "--writer", "w0")
    assert result.stdout == svg(traffic(path))
    some = [recorded.position for recorded in read_events(path)][5:8]
    late = run("diagram", "--log", path, "--since", some[0], "--until", some[-1]).stdout
    assert late == mermaid(traffic(path, since=some[0], until=some[-1]))
    whole = run("diagram", "--log", path, "--since", "1", "--until", "1").stdout
    assert whole == mermaid(traffic(path, until=Position(1, MAX_EVENTS)))
    after = run("diagram", "--log", path, "--since", "2100-01-01T00:00Z", "--json").stdout
    assert json.loads(after)["begun"] == 0


def test_json_of_a_lifecycle() -> None:
    """The states and edges, as one object."""
    result = run("diagram", "node", "--json")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    told = json.loads(result.stdout)
    assert (told["lifecycle"], told["initial"]) == ("node", "new")
    assert told["states"][-1] == {"state": "stopped", "final": True}
    assert [tuple(edge.values()) for edge in told["edges"]] == NODE.rows()


def test_json_of_traffic(path: Path, tmp_path: Path) -> None:
    """The same with every number; seconds for times."""
    told = json.loads(run("diagram", "--log", path, "--json").stdout)
    counts = [told[name] for name in ("begun", "ended", "open", "illegal", "unknown")]
    assert counts == [3, 2, 1, 0, 0]
    assert told["edges"][0] == {
        "event": "connection.registered",
        "from": "new",
        "to": "connecting",
        "count": 3,
    }
    active = next(state for state in told["states"] if state["state"] == "active")
    assert active == {"state": "active", "final": False, "entered": 5, "now": 1} | {
        name: pytest.approx(seconds, rel=0.006) for name, seconds in (("median", 0.5), ("p90", 2.0))
    }
    run("diagram", "--log", path, "--json", "--output", tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == told


def test_a_lifecycle_of_a_user(shop: str) -> None:
    """module:NAME is drawn; what its module prints is no part of the drawing."""
    result = run("diagram", f"{shop}:ORDER")
    assert result.stdout == ("stateDiagram-v2\n    [*] --> done : placed\n    done --> [*]\n")
    assert result.stderr == "shop is imported\n"


@attrs.frozen
class Seen:
    """Something happened."""


def test_a_lifecycle_that_only_the_log_knows(tmp_path: Path) -> None:
    """Its plain name is enough, and its names do nothing to a terminal."""
    path = tmp_path / "events.db"
    odd = Lifecycle("odd", states=[HOSTILE], final={HOSTILE}, transitions=[[Seen, "new", HOSTILE]])
    with EventLog.open(path, lifecycles=(CONNECTION, NODE, odd)) as log:
        log.append(("odd", "1"), Seen())
    for notation in ("mermaid", "dot", "svg"):
        result = run("diagram", "odd", "--log", path, "--format", notation, width=80)
        assert result.exit_code == 0
        assert "seen 1" in result.stdout
        assert all(escape(line) == line for line in result.stdout.split("\n"))
    told = run("diagram", "odd", "--log", path, "--json", width=80).stdout
    assert escape(told.rstrip("\n")) == told.rstrip("\n")
    assert json.loads(told)["states"][0]["state"] == HOSTILE


@pytest.mark.slow
def test_a_log_that_is_being_written(tmp_path: Path) -> None:
    """What another process has made durable counts."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number in (1, 2):
            writer.register(f"c{number}")
            told = json.loads(run("diagram", "--log", path, "--json").stdout)
            assert (told["begun"], told["open"]) == (number, number)


@pytest.mark.skipif(
    find_spec("graphviz") is None or shutil.which("dot") is None,
    reason="Graphviz is not installed",
)
def test_graphviz(path: Path) -> None:
    """--engine graphviz lets Graphviz place everything."""
    result = run("diagram", "--log", path, "--engine", "graphviz")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Generated by graphviz" in result.stdout
    assert "registered 3" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["order"], "there is no lifecycle order: say connection, node, module:NAME, or"),
        (["\x1b[31m"], r"there is no lifecycle \x1b[31m: say"),
        (["a_shop:"], "'a_shop:' is not of the form module:NAME"),
        (["a_shop:NUMBER"], "a_shop:NUMBER is no Lifecycle but of type int"),
        (["a_shop:OTHER"], "cannot import a_shop:OTHER: AttributeError: module 'a_shop' has no"),
        (["broken_shop:X"], r"cannot import broken_shop:X: RuntimeError: \x1b[31mbroken"),
        (["--writer", "w0"], "--writer, --since and --until say what to count of a --log"),
        (["--since", "1.0"], "--writer, --since and --until say what to count of a --log"),
        (["--log", "none.db"], "no log at none.db: No such file or directory"),
        (["--log", "memory:"], "a memory: log cannot be read from outside its process"),
        (["--log", "events.db", "--writer", "w9"], "no writer w9 wrote here, but w0"),
        (
            ["--log", "events.db", "--until", "999"],
            "there is no frame 999: this log ends with event",
        ),
        (["--log", "events.db", "--since", "1.99"], "there is no event 1.99: frame 1 ends with"),
        (["order", "--log", "events.db"], "nothing is written under a lifecycle order, but conn"),
        (["--engine", "graphviz", "--format", "dot"], "Graphviz is for svg here, and dot is text"),
        (["--output", "no/x.svg"], "cannot write no/x.svg: No such file or directory"),
    ],
)
def test_bad_input(path: Path, shop: str, arguments: list[str], problem: str) -> None:
    """One line says what is wrong, and nothing is drawn."""
    assert path.parent.joinpath(f"{shop}.py").exists()
    result = run("diagram", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    *_, line = result.stderr.splitlines()
    assert line.startswith(f"error: {problem}")


def test_a_naive_time(path: Path) -> None:
    """A time without a zone is refused before anything is read."""
    result = run("diagram", "--log", path, "--since", "2026-01-01")
    assert result.exit_code == 2
    assert "has no time zone: say 2026-01-01Z for UTC" in result.stderr


def test_a_damaged_frame(path: Path) -> None:
    """A corrupt frame is named."""
    change(path, "UPDATE frames SET body = ? WHERE position = 1", b"{")
    result = run("diagram", "--log", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: frame 1 is damaged: ")
