"""Any moment of a log is what folding up to it gives, on whatever way it was reached."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import DamagedFrame, HistoryEvicted, InvalidArgument
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    Position,
    Registered,
    UnknownEvent,
    to_datetime,
)
from rat_fsm.log import EventLog
from rat_fsm.projections.forking import ForkingModel
from rat_fsm.replay import cache as cache_module
from rat_fsm.replay import replay
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.checkpoints import Checkpoints
from rat_fsm.replay.rewinding import Distances
from rat_fsm.replay.timeline import Change, Timeline
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from tests.frames import LIFECYCLES
from tests.histories import Recorder, histories
from tests.logs import crash, execute, register
from tests.orders import OLD_ORDER, Done, Old, Packed
from tests.replay.written import events_in, store_of, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store

CLOSE: Final = Distances(checkpoints=4, forks=2, window=6)
MOVES: Final = st.lists(
    st.tuples(
        st.sampled_from(["at", "goto", "next", "previous", "first", "last", "seek", "back"]),
        st.integers(0, 40),
    ),
    max_size=12,
)
CUTS: Final = st.sets(st.integers(0, 40))
TAGS: Final = ("connection.registered", "connection.closed", "order.placed", "node.serving")


def known(model: ReadModel) -> Any:
    """Everything that a model says, how far it has read and whom it finds by name included."""
    found = {name: set(model.ids(name)) for name in model.lifecycles}
    return model, model.cursor, model.last_at, dict(model.connections), dict(model.retry), found


def told(store: Store, until: Any) -> Any:
    """The same of a replay."""
    return known(replay(store, until, lifecycles=LIFECYCLES))


@attrs.define
class Walker:
    """Steps through the events of a log by counting them, which is what a cursor is held against.

    Attributes:
        at: the number of the event, -1 before the first.
    """

    events: list[Recorded]
    timeline: Timeline
    at: int = -1

    def take(self, move: str, number: int) -> None:
        """Makes one move with both."""
        tag = TAGS[number % len(TAGS)]
        moved: Any
        match move:
            case "goto":
                self.at = min(number, len(self.events) - 1)
                position = self.events[self.at].position if self.events else None
                moved = self.timeline.goto(position) if position else None
            case "next":
                moved = self.timeline.next()
                self.at += moved is not None
            case "previous":
                moved = self.timeline.previous()
                self.at = max(self.at - 1, -1)
            case "first":
                self.at = min(0, len(self.events) - 1)
                moved = self.timeline.first()
            case "last":
                self.at = len(self.events) - 1
                moved = self.timeline.last()
            case "seek":
                later = [n for n in range(self.at + 1, len(self.events)) if self.is_a(n, tag)]
                self.at = min(later, default=self.at)
                moved = self.timeline.seek(tag)
                assert (moved is not None) == bool(later)
            case _:
                earlier = [n for n in range(self.at) if self.is_a(n, tag)]
                self.at = max(earlier, default=self.at)
                moved = self.timeline.seek(lambda r: r.type == tag, backward=True)
                assert (moved is not None) == bool(earlier)
        assert self.timeline.event == (self.events[self.at] if self.at >= 0 else None)
        assert moved is None or moved == self.timeline.event

    def is_a(self, number: int, tag: str) -> bool:
        """Whether an event is of a type."""
        return self.events[number].type == tag


def states(events: Sequence[Recorded]) -> list[Change]:
    """What each event changed, told by the table alone."""
    lifecycles = {lifecycle.name: lifecycle for lifecycle in LIFECYCLES}
    now: dict[Any, str] = {}
    changes = []
    for recorded in events:
        lifecycle = lifecycles[recorded.stream.lifecycle]
        before = now.get(recorded.stream, lifecycle.initial)
        after = lifecycle.next_state(before, recorded.event)
        changes.append(Change(before, after or before, after is not None))
        now[recorded.stream] = after or before
    return changes


@given(histories(least=5), CUTS, MOVES)
def test_every_moment_is_a_fold_of_the_prefix(history: Any, cuts: Any, moves: Any) -> None:
    """After any sequence of moves, over several writers, in frames of any size.

    What was answered before stays as it was.
    """
    store = store_of(history, cuts)
    events = events_in(store)
    changes = states(events)
    answered = []
    with Timeline(store, lifecycles=LIFECYCLES, distances=CLOSE) as timeline:
        walker = Walker(events, timeline)
        for move, number in moves:
            if move == "at":
                if events:
                    position = events[number % len(events)].position
                    assert position is not None
                    answered.append((timeline.at(position), told(store, position)))
            else:
                walker.take(move, number)
            position = timeline.position or Position(0, 0)
            answered.append((timeline.model, told(store, position)))
            assert timeline.change == (changes[walker.at] if walker.at >= 0 else None)
        for model, expected in answered:
            assert known(model) == expected


@given(
    histories(least=5),
    CUTS,
    st.integers(-(10**7), 10**7),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([-1, 0, 1])), max_size=6),
)
def test_every_instant_is_a_fold_of_what_was_before(
    history: Any, cuts: Any, skew: int, instants: Any
) -> None:
    """All events at or before a time, whatever the clocks of their writers say.

    The cursor goes where the log has told nothing later yet.
    """
    skewed = [attrs.evolve(r, micros=r.micros + skew) if r.writer == "w1" else r for r in history]
    store = store_of(skewed, cuts)
    events = events_in(store)
    with Timeline(store, lifecycles=LIFECYCLES, distances=CLOSE) as timeline:
        for number, later in instants if events else ():
            micros = events[number % len(events)].micros + later
            moment = to_datetime(micros)
            assert known(timeline.at(moment)) == told(store, moment)
            before = [n for n, r in enumerate(events) if r.micros > micros]
            expected = events[: min(before, default=len(events))]
            assert timeline.goto(moment) == (expected[-1] if expected else None)


@given(histories(least=5), CUTS, st.sampled_from("abc"))
def test_a_focus_stops_at_one_id(history: Any, cuts: Any, stream_id: str) -> None:
    """Steps go event by event of that id, forward and back; without it, of everything again."""
    store = store_of(history, cuts)
    events = events_in(store)
    mine = [recorded for recorded in events if recorded.stream.id == stream_id]
    with Timeline(store, lifecycles=LIFECYCLES) as timeline:
        timeline.focus(stream_id)
        assert [timeline.next() for _ in mine] == mine
        assert timeline.next() is None
        assert timeline.event == (mine[-1] if mine else None)
        assert [timeline.previous() for _ in mine[1:]] == mine[-2::-1]
        assert timeline.previous() is None
        timeline.focus(None)
        if mine:
            assert timeline.event == mine[0]
            later = events[events.index(mine[0]) + 1 :]
            assert timeline.next() == (later[0] if later else None)


LIFE: Final = (
    Registered("10.0.0.1"),
    Activated(),
    Closing("normal", "app", "streaming"),
    Closed("normal", 0, 0, 0, 0, 1.0),
)
NEAR: Final = Distances(checkpoints=20, forks=2, window=16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with forty frames, each the life of a connection in four events."""
    path = tmp_path / "events.db"
    write(path, [f"c{number}" for number in range(40)])
    return path


def write(path: Path, ids: Sequence[str], life: Sequence[Any] = LIFE) -> None:
    """A frame for each id."""
    recorder = Recorder()
    history = [recorder.record("connection", name, event) for name in ids for event in life]
    write_file(path, history, range(0, len(history), len(life)))


def folded(source: Any, frame: int, **options: Any) -> list[int]:
    """The frames that are folded for the state after one; it is the right one."""
    steps: list[int] = []
    with Timeline(source, progress=steps.append, distances=NEAR, **options) as timeline:
        assert known(timeline.at(Position(frame, 1))) == known(replay(source, Position(frame, 1)))
    return steps


def test_checkpoints_spare_the_beginning(path: Path, tmp_path: Path, cache_home: Path) -> None:
    """What one long fold left in the cache is where the next begins; another cache knows it not."""
    assert folded(path, 38) == list(range(1, 38))
    assert folded(path, 38) == list(range(36, 38))
    assert folded(path, 25) == list(range(21, 25))
    assert folded(path, 25, cache=tmp_path / "elsewhere") == list(range(1, 25))
    assert len(list((cache_home / "rat_fsm").glob("*.db"))) == 1


def test_going_back_begins_nearby(path: Path) -> None:
    """A jump takes from the nearest checkpoint what it needs; going back, memory has the rest."""
    folded(path, 40)
    steps: list[int] = []

    def read_for(*frames: int) -> list[int]:
        """The frames that are folded to see these."""
        del steps[:]
        for frame in frames:
            timeline.goto(Position(frame, 0))
            assert timeline.model == replay(path, Position(frame, 0))
        return list(steps)

    with Timeline(path, progress=steps.append, distances=NEAR) as timeline:
        assert read_for(39) == [36, 37, 38]
        assert read_for(38, 37) == []
        assert read_for(34) == [31, 32, 33]
        assert read_for(33, 32) == []


def test_few_forks_are_kept(path: Path) -> None:
    """However far one steps, the forks in memory are those around the cursor, and few."""
    with Timeline(path, distances=NEAR) as timeline:
        timeline.first()
        while timeline.next() is not None:
            assert timeline.model is not None
            assert len(timeline._rewinder._forks) <= 9


def test_a_checkpoint_of_another_log_is_not_used(path: Path, tmp_path: Path) -> None:
    """Where a log was replaced by one that begins alike, its checkpoints are forgotten."""
    folded(path, 40)
    path.unlink()
    write(path, [f"c{number}" for number in range(15)] + [f"d{number}" for number in range(25)])
    assert folded(path, 40) == list(range(16, 40))
    assert folded(path, 40) == list(range(36, 40))
    path.unlink()
    write(path, [f"e{number}" for number in range(40)])
    assert folded(path, 40) == list(range(1, 40))
    assert (tmp_path / "cache home").exists()


def test_models_of_other_lifecycles_are_others(path: Path) -> None:
    """A checkpoint is for the lifecycles that it was made with."""
    folded(path, 40)
    steps: list[int] = []
    with Timeline(path, lifecycles=LIFECYCLES, progress=steps.append) as timeline:
        assert timeline.at(Position(40, 3)) == replay(path, lifecycles=LIFECYCLES)
    assert steps == list(range(1, 40))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE checkpoints SET model = zeroblob(50)",
        "UPDATE checkpoints SET model = substr(model, 1, 80)",
        "UPDATE checkpoints SET model = 'text', hash = 7",
        "DROP TABLE checkpoints",
        "DROP TABLE meta",
    ],
)
def test_a_damaged_checkpoint_is_no_error(path: Path, cache_home: Path, damage: str) -> None:
    """What cannot be read costs the time to fold again, and is made anew."""
    folded(path, 40)
    (file,) = (cache_home / "rat_fsm").glob("*.db")
    execute(file, damage)
    folded(path, 40)
    folded(path, 40)
    assert folded(path, 40) == list(range(36, 40))


@pytest.mark.parametrize("offset", [0, 100, 4096, 8192, 12_000])
def test_a_damaged_cache_is_no_error(path: Path, cache_home: Path, offset: int) -> None:
    """A file with rubbish in it is thrown away, at the latest when that is found."""
    folded(path, 40)
    (file,) = (cache_home / "rat_fsm").glob("*.db")
    content = bytearray(file.read_bytes())
    content[offset : offset + 4096] = b"\xa5" * len(content[offset : offset + 4096])
    file.write_bytes(content)
    folded(path, 40)
    folded(path, 40)
    assert folded(path, 40) == list(range(36, 40))


def test_a_cache_that_is_busy_is_no_error(
    path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody else writes for too long, this time nothing is kept; the next time it is."""
    monkeypatch.setattr(cache_module, "BUSY_TIMEOUT", 0.0)
    with Timeline(path, distances=NEAR) as timeline:
        (file,) = (cache_home / "rat_fsm").glob("*.db")
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for frame in (12, 30):
                assert timeline.at(Position(frame, 1)) == replay(path, Position(frame, 1))
    assert folded(path, 40) == list(range(1, 40))
    assert folded(path, 40) == list(range(36, 40))


def test_a_cache_that_cannot_be_prepared_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then there are no checkpoints, and none are kept."""
    monkeypatch.setattr(cache_module, "BUSY_TIMEOUT", 0.0)
    with contextlib.closing(open_store(path)) as store, Cache(store) as cache:
        assert cache.path is not None
        with contextlib.closing(sqlite3.connect(cache.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            checkpoints = Checkpoints(cache, LIFECYCLES)
        checkpoints.save(next(iter(store.read())), ForkingModel(LIFECYCLES))
        assert (checkpoints.last(40), checkpoints.load(1)) == (0, None)


def test_sums_beyond_64_bits_are_kept(tmp_path: Path) -> None:
    """What no event can hold may come of adding them up, and a checkpoint holds it."""
    path = tmp_path / "huge.db"
    write(path, ["c1"] * 12, [*LIFE[:2], ActivityRecorded(2**63 - 1, 0), *LIFE[2:]])
    for folds in (11, 3):
        assert len(folded(path, 12)) == folds
    assert replay(path).totals.bytes_sent == 12 * (2**63 - 1)


def test_a_damaged_frame_is_said_and_nothing_else_suffers(path: Path) -> None:
    """Moments behind it cannot be told; those before it can, in any order."""
    execute(path, "UPDATE frames SET body = 'rubbish' WHERE position = 20")
    with Timeline(path, distances=CLOSE) as timeline:
        for _ in range(2):
            with pytest.raises(DamagedFrame):
                timeline.at(Position(30, 0))
            for frame in (19, 3, 18):
                assert timeline.at(Position(frame, 1)) == replay(path, Position(frame, 1))
        with pytest.raises(DamagedFrame):
            timeline.goto(Position(20, 0))


@pytest.mark.parametrize("moment", [Position(41, 0), Position(0, 0), Position(3, 4)])
def test_what_the_log_does_not_have_is_refused(path: Path, moment: Position) -> None:
    """A position past the end, before the beginning or within no frame; the cursor stays."""
    with Timeline(path) as timeline:
        timeline.goto(Position(7, 1))
        for ask in (timeline.at, timeline.goto):
            with pytest.raises(InvalidArgument, match=r"there is no (event|frame)"):
                ask(moment)
            with pytest.raises(InvalidArgument, match="no time zone"):
                ask(datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - the point
        assert timeline.position == Position(7, 1)


def test_an_empty_log_has_one_moment() -> None:
    """Before the first event nothing has happened."""
    with Timeline(MemoryStore()) as timeline:
        moves = [timeline.first(), timeline.next(), timeline.previous(), timeline.last()]
        assert moves == [None] * 4
        assert (timeline.position, timeline.event, timeline.change) == (None, None, None)
        assert timeline.model == replay([])
        assert timeline.at(to_datetime(0)) == replay([])


def test_what_is_written_meanwhile_comes_into_reach() -> None:
    """At the end of a log that goes on there is a next event once it is durable."""
    with EventLog() as log:
        register(log, "c1")
        log.flush()
        with Timeline(log) as timeline:
            assert timeline.last() == list(log.read())[-1]
            assert timeline.next() is None
            register(log, "c2")
            log.flush()
            assert timeline.next() is not None
            assert timeline.seek(lambda _: False) is None
            timeline.last()
            assert timeline.model == log.read_model


def test_an_evicted_beginning_is_said() -> None:
    """Of a bounded log in memory that has dropped its beginning, no moment can be told."""
    log = EventLog(MemoryStore(max_events=4))
    for number in range(4):
        register(log, f"c{number}")
        log.flush()
    with Timeline(log) as timeline:
        assert timeline.last() is not None
        with pytest.raises(HistoryEvicted):
            timeline.first()
        with pytest.raises(HistoryEvicted):
            timeline.at(Position(4, 0))
    crash(log)


def test_old_streams_are_judged_by_their_own_definition() -> None:
    """A state that only the old table has is a moment's state and a change like any other."""
    store = MemoryStore()
    log = EventLog(store, lifecycles=(OLD_ORDER,), writer="orders")
    log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed(2))
    log.flush()
    log.append(("order", "o1"), Done())
    log.flush()
    crash(log)
    with Timeline(store, lifecycles=LIFECYCLES) as timeline:
        timeline.focus("o1")
        changes = []
        while timeline.next() is not None:
            assert timeline.position is not None
            changes.append(timeline.change)
            assert known(timeline.model) == told(store, timeline.position)
    assert changes == [
        Change("new", "open", legal=True),
        Change("open", "packed", legal=True),
        Change("packed", "done", legal=True),
    ]


def test_a_lifecycle_that_is_not_known_has_no_states() -> None:
    """Its events can be stepped through all the same."""
    log = EventLog(lifecycles=(OLD_ORDER,))
    log.append(("order", "o1"), Old.Placed("tea", 2.5))
    log.flush()
    with Timeline(log) as timeline:
        found = timeline.seek("order.placed")
        assert found is not None
        assert isinstance(found.event, UnknownEvent)
        assert timeline.change is None
    crash(log)
