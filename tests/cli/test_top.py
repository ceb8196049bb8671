"""rat-fsm top: the writers of a log and their connections, live."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Final, Self

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import ClusterView, EventLog
from rat_fsm.cli.panels import panels
from rat_fsm.cli.sampling import ORDERS, Sample, Sampler
from rat_fsm.core import StartDrain
from rat_fsm.events import ActivityRecorded, ErrorRecorded, Stalled
from rat_fsm.log import tailing
from tests.away import AwayStore
from tests.cli.logs import (
    ESCAPED,
    HOSTILE,
    RAT_FSM,
    Writer,
    a_life,
    change,
    finish,
    plain,
    run,
    start,
    write,
)
from tests.logs import register
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE: Final = 30.0
ERROR: Final = ErrorRecorded("OSError", "reset", "network_error", retryable=True)


@pytest.fixture(autouse=True, scope="module")
def soon() -> Iterator[None]:
    """Who closes a view does not wait a quarter of a second for its thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailing, "SLICE", 0.01)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "events.db"


def look(view: ClusterView, sampler: Sampler, order: str = "busiest", most: int = 10) -> Sample:
    """What the view shows once it has caught up."""
    assert view.wait(timeout=PATIENCE)
    return sampler.look(order, most)


def text(sample: Sample, order: str = "busiest", rows: int | None = None) -> list[str]:
    """The lines of a sample, without styles."""
    lines = panels("the log", sample, order, rows)
    return ["".join(part for part, _ in line).rstrip() for line in lines]


def test_rates_are_of_the_time_between_two_looks() -> None:
    """For writers, all together and connections; the first look knows none."""
    with EventLog() as log, ClusterView(log) as view:
        sampler, before = Sampler(view), time.monotonic()
        register(log, "a", "b")
        log.flush()
        first = look(view, sampler)
        assert (first.total.bytes, first.rates["w0"].events) == (0, 0)
        for name, sent in (("a", 1_000), ("b", 3_000)):
            log.append(("connection", name), ActivityRecorded(sent, 2))
        log.flush()
        second = look(view, sampler)
        longest = time.monotonic() - before
    rates = second.rates["w0"]
    assert rates == second.total
    assert rates.bytes * longest >= 4_000
    assert rates.messages == pytest.approx(rates.bytes / 1_000)
    assert rates.events == pytest.approx(rates.bytes / 2_000)
    assert [(one.id, one.bytes_sent) for one in second.connections] == [("b", 3_002), ("a", 1_001)]
    assert [one.rate / rates.bytes for one in second.connections] == pytest.approx([0.75, 0.25])


def test_connections_come_in_an_order() -> None:
    """The first of them only."""
    with EventLog() as log, ClusterView(log) as view:
        sampler = Sampler(view)
        register(log, "old", "stalled", "bad", "busy")
        log.append(("connection", "stalled"), Stalled(20.0))
        log.append(("connection", "bad"), ERROR)
        log.append(("connection", "busy"), ActivityRecorded(1_000, 1))
        log.flush()
        first = {
            order: [one.id for one in look(view, sampler, order, 2).connections] for order in ORDERS
        }
    assert {order: ids[0] for order, ids in first.items()} == {
        "busiest": "busy",
        "stalled": "stalled",
        "oldest": "old",
        "failing": "bad",
    }
    assert {len(ids) for ids in first.values()} == {2}


@given(st.integers(3, 60), st.integers(0, 40), st.integers(1, 30))
def test_no_more_lines_than_fit(rows: int, connections: int, writers: int) -> None:
    """However many writers and connections there are; the head is always there."""
    sample = a_sample()
    (status,) = sample.writers.values()
    names = [f"w{number}" for number in range(writers)]
    sample = attrs.evolve(
        sample,
        writers={name: attrs.evolve(status, writer=name) for name in names},
        rates=dict.fromkeys(names, sample.total),
        connections=sample.connections[:1] * connections,
    )
    lines = text(sample, rows=rows)
    assert len(lines) <= max(rows, 7)
    assert lines[0].startswith("the log  ")


def a_sample() -> Sample:
    """Of one writer and one connection."""
    with EventLog() as log, ClusterView(log) as view:
        register(log, "c1")
        log.flush()
        return look(view, Sampler(view))


def test_an_outage_is_said() -> None:
    """What was known stays, and who holds a slot is not known meanwhile."""
    store = AwayStore()
    with EventLog(store) as log, ClusterView(store) as view:
        sampler = Sampler(view)
        register(log, "c1")
        log.flush()
        before = text(look(view, sampler))
        store.away = True
        until(lambda: view.health.status == "failing")
        sample = sampler.look("busiest", 10)
        lines = text(sample)
        store.away = False
    assert before[1] == "1 writer, 1 held · 1 open"
    assert lines[1] == "1 writer · 1 open"
    assert re.fullmatch(r"the store has been away for .*s, and is asked again", lines[3])
    assert lines[4] == "  it is away"
    assert (sample.writers["w0"].slot.held, sample.lag.seconds > 0) == (None, True)
    assert lines[-1].split()[:2] == ["w0", "c1"]


def test_a_drain_is_told() -> None:
    """How far it has come and who asked."""
    with EventLog() as log, ClusterView(log) as view:
        register(log, "c1")
        log.transact_node(StartDrain(30.0, "ann"))
        log.flush()
        assert text(look(view, Sampler(view)))[3] == "w0 is draining: 1 of 1 left, asked by ann"


def test_strings_of_a_log_are_text() -> None:
    """Ids, clients, routes and writers, whatever they hold."""
    sample = a_sample()
    (one,), (status,) = sample.connections, sample.writers.values()
    sample = attrs.evolve(
        sample,
        connections=(attrs.evolve(one, id=HOSTILE[:30], remote_addr=HOSTILE, route=HOSTILE),),
        writers={"w": attrs.evolve(status, writer=HOSTILE)},
        rates={"w": sample.total},
    )
    for line in panels(HOSTILE, sample, "busiest"):
        for part, _ in line:
            assert set(part) & set("\x1b\x9b\u202e\u2066\n\x07\x7f") == set()
    assert text(sample)[5].startswith(f"{ESCAPED}  ")


def test_a_long_id_is_cut() -> None:
    """So that what stands behind it is seen."""
    sample = a_sample()
    long = attrs.evolve(sample.connections[0], id="x" * 512)
    assert f"w0      {'x' * 35}…  active" in text(attrs.evolve(sample, connections=(long,)))[-1]


def test_once(path: Path) -> None:
    """One look, as lines in a pipe and as JSON; it ends by itself."""
    write(path, *a_life("c1"), *a_life("c2")[:4])
    lines = plain(run("top", path, "--once", "--interval", "0.1").stdout)
    assert re.fullmatch(rf"sqlite:{path}  \d\d:\d\d:\d\d UTC", lines[0])
    assert lines[1] == "1 writer, 0 held · 1 open"
    assert lines[4].split()[:4] == ["writer", "slot", "phase", "open"]
    assert lines[7] == "busiest connections"
    assert lines[9].split()[:6] == ["w0", "c2", "active", "0", "B", "1.5"]
    told = json.loads(run("top", path, "--once", "--interval", "0.1", "--json").stdout)
    assert told["log"] == f"sqlite:{path}"
    assert told["stats"]["total_connections"] == 2
    assert [one["id"] for one in told["connections"]] == ["c2"]
    assert told["writers"][0]["died"] is False
    assert told["health"] == {"status": "ok", "last_error": None, "failing_for": 0.0}


@pytest.mark.slow
def test_in_a_pipe_it_goes_on(path: Path) -> None:
    """A look each interval, with what came since, until it is interrupted."""
    with Writer(path) as writer:
        writer.register("c1")
        with start("top", path, "--json", "--interval", "0.1") as process:
            assert process.stdout is not None
            looks = (json.loads(line) for line in process.stdout)
            assert next(looks)["stats"]["active_connections"] == 1
            writer.register("c2")
            found = next(one for one in looks if one["stats"]["active_connections"] == 2)
            assert found["writers"][0]["slot"]["held"] is True
            process.send_signal(signal.SIGINT)
            finish(process)
    assert process.returncode == 130


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *args: object, columns: int = 120, lines: int = 20) -> None:
        self.main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(other)
        self.other = other
        hidden = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [*RAT_FSM, *map(str, args)],
            stdin=other,
            stdout=other,
            stderr=subprocess.PIPE,
            env={**hidden, "TERM": "xterm-256color"},
        )
        self.seen = ""

    def read_until(self, pattern: str) -> None:
        """Reads what is drawn until something stands there."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen, re.DOTALL):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.main], [], [], 0.1)[0]:
                self.seen += os.read(self.main, 65536).decode(errors="replace")

    def press(self, key: str) -> None:
        """Presses a key, and forgets what was drawn before."""
        self.seen = ""
        os.write(self.main, key.encode())

    def ended(self) -> tuple[int, bool]:
        """The exit code, and whether the terminal is as it was."""
        assert self.process.stderr is not None
        assert self.process.stderr.read() == b""
        return self.process.wait(PATIENCE), termios.tcgetattr(self.other) == self.before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.main)
        os.close(self.other)


def test_on_a_terminal(path: Path) -> None:
    """It draws in place, s sorts otherwise, and q gives the terminal back as it was."""
    write(path, *a_life("c1")[:4])
    with Terminal("top", path, "--interval", "0.1") as terminal:
        terminal.read_until("busiest connections.*q ends")
        assert "\x1b[?1049h" in terminal.seen
        terminal.press("s")
        terminal.read_until("stalled connections")
        terminal.press("q")
        terminal.read_until(re.escape("\x1b[?1049l"))
        assert terminal.ended() == (0, True)


def test_a_frame_that_is_damaged_ends_it(path: Path) -> None:
    """With one line."""
    write(path, *a_life("c1")[:4])
    change(path, "UPDATE frames SET hash = zeroblob(32)")
    result = run("top", path, "--once")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: frame 1 is damaged: its hash")


@pytest.mark.parametrize("option", [("--interval", "0"), ("--sort", "x")])
def test_options_that_are_none(path: Path, option: tuple[str, str]) -> None:
    """One line says so."""
    write(path)
    result = run("top", path, *option)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
