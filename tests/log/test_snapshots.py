"""Snapshots: which of them recovery trusts, and which of them verifying finds to lie."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rat_fsm.events import ActivityRecorded
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.log.recover import fold_writer
from rat_fsm.log.snapshots import RefoldedSnapshots, save_snapshot
from rat_fsm.log.verifying import verify_log
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.chains import found, with_two_writers
from tests.frames import START, frame_with, new_model, usual_body
from tests.logs import LIFECYCLES, close_connection, execute, register
from tests.orders import New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.log.verifying import VerifyReport
    from rat_fsm.stores.port import Store

GOLDEN: Final = Path(__file__).parent.parent / "golden" / "0.1.0.sqlite"


def refolded(store: Store, lifecycles: Any = LIFECYCLES) -> tuple[VerifyReport, RefoldedSnapshots]:
    """What verifying says of a log and its snapshots."""
    snapshots = RefoldedSnapshots(store, lifecycles)
    return verify_log(store, [snapshots]), snapshots


def of_file(path: Path, lifecycles: Any = LIFECYCLES) -> tuple[VerifyReport, RefoldedSnapshots]:
    """The same of a file that is opened for reading."""
    with contextlib.closing(open_store(path)) as store:
        return refolded(store, lifecycles)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that two writers closed, each with a snapshot, and that one went on with."""
    path = tmp_path_factory.mktemp("made") / "log.db"
    clock = VirtualClock()
    for writer in ("w0", "w1", "w1"):
        with EventLog.open(path, lifecycles=LIFECYCLES, clock=clock, writer=writer) as log:
            register(log, "c1", "c2")
            log.append(("order", f"o{clock.now()}"), New.Placed("tea", 250, "EUR"), Packed())
            clock.advance(1.0)
            close_connection(log, "c1")
            close_connection(log, "c2")
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copy(made, tmp_path / "log.db"))


def test_true_snapshots_are_refolded(path: Path) -> None:
    """Every writer's snapshot carries its frame's hash, and is what its frames fold to."""
    heads = execute(
        path,
        "SELECT snapshots.writer FROM snapshots JOIN frames USING (position)"
        " WHERE head = hash AND snapshots.writer = frames.writer ORDER BY 1",
    )
    report, snapshots = of_file(path)
    assert heads == [("w0",), ("w1",)]
    assert (report.problems, snapshots.refolded, snapshots.left_alone) == ((), ["w0", "w1"], {})


ACTIONS: Final[dict[str, Callable[[EventLog, str], object]]] = {
    "register": register,
    "send": lambda log, name: log.append(("connection", name), ActivityRecorded(5, 1)),
    "close": close_connection,
    "order": lambda log, name: log.append(("order", name), New.Placed("tea", 2, "EUR")),
    "note": lambda log, name: log.append(("order", name), Noted({"by": name})),
    "flush": lambda log, _name: log.flush(),
}


@given(
    runs=st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from("ab")), max_size=8),
        min_size=1,
        max_size=3,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
def test_whatever_a_log_holds_its_snapshot_is_what_it_folds_to(
    runs: list[list[tuple[str, str]]], tmp_path: Path
) -> None:
    """After any runs of any events, some of them refused, the last snapshot is a true one."""
    path = tmp_path / "log.db"
    path.unlink(missing_ok=True)
    for run in runs:
        with EventLog.open(path, lifecycles=LIFECYCLES) as log:
            log.begin()
            for action, name in run:
                with contextlib.suppress(RuntimeError):  # the table refuses some
                    ACTIONS[action](log, name)
    report, snapshots = of_file(path)
    assert (report.problems, snapshots.refolded) == ((), ["w0"])


LIES: Final = {
    "a total": "json_set(data, '$.model.totals.bytes_sent', 7)",
    "a record": "json_set(data, '$.model.records[0].state', 'packed2')",
    "a record less": "json_remove(data, '$.model.records[0]')",
    "a node": "json_set(data, '$.model.node.drain_open', 1)",
    "how far it has read": "json_set(data, '$.model.cursor.w1', 1)",
    "the last time": "json_set(data, '$.model.last_at.w1', 1)",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_snapshot_that_lies_is_named(lie: str, path: Path) -> None:
    """Whatever is changed in a model, the writer is named whose snapshot it is."""
    changed = lie.replace("data", "CAST(data AS TEXT)", 1)
    execute(path, f"UPDATE snapshots SET data = CAST({changed} AS BLOB) WHERE writer = 'w1'")  # noqa: S608 - ours
    report, snapshots = of_file(path)
    ((position, writer, message),) = found(report)
    assert (writer, message) == ("w1", "the snapshot of w1 is not what its frames fold to")
    assert execute(path, "SELECT position FROM snapshots WHERE writer = 'w1'") == [(position,)]
    assert snapshots.refolded == ["w0", "w1"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("head = zeroblob(32)", "the snapshot of w1 was folded at another frame"),
        ("head = 'x'", "the snapshot of w1 was folded at another frame"),
        ("data = x'00'", "the snapshot of w1 cannot be read: "),
        ("data = CAST('{}' AS BLOB)", "the snapshot of w1 cannot be read: "),
        ("data = CAST('[1]' AS BLOB)", "the snapshot of w1 cannot be read: "),
        ("position = 99", "frame 99 of w1, which its snapshot ends with, is missing"),
        ("position = 1", "frame 1 of w1, which its snapshot ends with, is missing"),
    ],
)
def test_a_snapshot_of_another_log_is_named(change: str, what: str, path: Path) -> None:
    """One that is of other frames, of frames that are missing, or no model, is a problem."""
    execute(path, f"UPDATE snapshots SET {change} WHERE writer = 'w1'")  # noqa: S608 - ours
    report, _ = of_file(path)
    ((_, writer, message),) = found(report)
    assert (writer, message[: len(what)]) == ("w1", what)


def test_a_lost_tail_shows_against_a_snapshot(path: Path) -> None:
    """A closed log that lost its last frame is not what its snapshot was folded from."""
    execute(path, "DELETE FROM frames WHERE position = (SELECT max(position) FROM frames)")
    report, _ = of_file(path)
    assert [(writer, message[-11:]) for _, writer, message in found(report)] == [
        ("w1", " is missing")
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("fold_version = fold_version + 1", "another version of rat_fsm folded it"),
        ("fold_version = 'x'", "another version of rat_fsm folded it"),
        ("head = NULL", "it was saved without its head, by an older rat_fsm"),
        ("position = 'x'", "it does not say where it ends"),
    ],
)
def test_what_recovery_would_not_use_is_left_alone(change: str, reason: str, path: Path) -> None:
    """It is no problem, and verifying says why it was not compared."""
    execute(path, f"UPDATE snapshots SET {change} WHERE writer = 'w1'")  # noqa: S608 - ours
    report, snapshots = of_file(path)
    assert (report.problems, snapshots.refolded) == ((), ["w0"])
    assert snapshots.left_alone == {"w1": reason}
    with EventLog.open(path, lifecycles=LIFECYCLES, writer="w1") as log:
        assert log.read_model == replay(log)


def test_a_snapshot_of_unknown_lifecycles_is_left_alone(path: Path) -> None:
    """Who does not know a lifecycle cannot fold it, and says so."""
    report, snapshots = of_file(path, (CONNECTION, NODE))
    reason = "it holds lifecycles that are not known here"
    assert (report.problems, snapshots.left_alone) == ((), {"w0": reason, "w1": reason})


def test_behind_damage_nothing_is_compared(path: Path) -> None:
    """Where a chain is broken there is nothing to fold; the other writer's is refolded."""
    execute(path, "UPDATE frames SET salt = zeroblob(16) WHERE writer = 'w1'")
    report, snapshots = of_file(path)
    assert [writer for _, writer, _ in found(report)] == ["w1"]
    assert snapshots.left_alone == {"w1": "the frames before it are damaged"}
    assert snapshots.refolded == ["w0"]


def test_recovery_says_that_it_does_not_trust_a_snapshot(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose head is not the frame's hash is warned about, and the frames are folded."""
    execute(path, "UPDATE snapshots SET head = zeroblob(32)")
    with EventLog.open(path, lifecycles=LIFECYCLES, writer="w0") as log:
        assert log.read_model == replay(log)
    assert "the snapshot of writer w0 is of another log; it is not used" in caplog.messages


def test_a_true_looking_lie_misleads_recovery_and_not_verifying(path: Path) -> None:
    """Why verifying folds again: a forged model with the right head is believed by recovery."""
    forged = "json_set(CAST(data AS TEXT), '$.model.totals.bytes_sent', 7)"
    execute(path, f"UPDATE snapshots SET data = CAST({forged} AS BLOB)")  # noqa: S608 - ours
    with contextlib.closing(open_store(path)) as store:
        lifecycles = {lifecycle.name: lifecycle for lifecycle in LIFECYCLES}
        assert fold_writer(store, "w0", lifecycles).totals.bytes_sent == 7
        assert [writer for _, writer, _ in found(refolded(store)[0])] == ["w0", "w1"]


def test_a_store_without_snapshots_has_none_to_refold() -> None:
    """Stores need not keep snapshots, and logs need not have any."""

    class Bare(MemoryStore):
        save_snapshot = load_snapshot = None  # type: ignore[assignment]

    for store in (MemoryStore(), Bare()):
        with EventLog(store) as log:
            log.begin()
        report, snapshots = refolded(store)
        assert (report.problems, snapshots.refolded, snapshots.left_alone) == ((), [], {})
    save_snapshot(store, "w0", new_model(), 1, bytes(32))


def test_a_snapshot_that_cannot_be_saved_is_no_error(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It only saves time: a warning says why, and the one that was there stays."""
    before = path.read_bytes()
    with contextlib.closing(open_store(path)) as store:
        save_snapshot(store, "w0", new_model(), 1, bytes(32))
    assert "the snapshot of writer w0 cannot be saved" in caplog.text
    assert path.read_bytes() == before


def test_frames_that_do_not_fold_are_named() -> None:
    """A chain made right by hand may hold what no log would: it is reported, not raised."""
    store = MemoryStore()
    store.append(frame_with(usual_body()).frame)
    body = usual_body()
    body["streams"][1][1] = "another"  # that began where the first frame says that c1 did
    second = frame_with(
        body, first=9, first_at=START + 7, last_at=START + 14, prev=store.heads()["w0"].frame.hash
    ).frame
    store.append(second)
    save_snapshot(store, "w0", new_model(), 2, second.hash)
    report, snapshots = refolded(store)
    ((position, writer, message),) = found(report)
    assert (position, writer, message[:28]) == (2, "w0", "frame 2 is damaged: it calls")
    assert snapshots.left_alone == {"w0": "the frames before it cannot be folded"}


def test_a_file_of_an_older_version_is_read_as_it_is(tmp_path: Path) -> None:
    """Its snapshots have no head: it is read without being changed, and opened for writing."""
    path = tmp_path / "old.db"
    shutil.copy(GOLDEN, path)
    path.chmod(0o600)
    before = path.read_bytes()
    report, snapshots = of_file(path)
    assert (report.problems, sorted(snapshots.left_alone)) == ((), ["golden"])
    assert path.read_bytes() == before
    with EventLog.open(path) as log:
        register(log, "c1")
    report, snapshots = of_file(path)
    assert (report.problems, snapshots.refolded) == ((), ["w0"])
    assert sorted(snapshots.left_alone) == ["golden"]


def test_the_head_is_added_once(tmp_path: Path) -> None:
    """Many who open an old file at the same time make one column."""
    path = tmp_path / "old.db"
    shutil.copy(GOLDEN, path)
    path.chmod(0o600)
    stores = [open_store(path, writable=True) for _ in range(3)]
    columns = execute(path, "SELECT name FROM pragma_table_info('snapshots')")
    assert [name for (name,) in columns][-2:] == ["data", "head"]
    for store in stores:
        store.close()


def test_many_writers(tmp_path: Path) -> None:
    """Logs without a snapshot are as sound as before."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    report, snapshots = of_file(path)
    assert (report.problems, snapshots.refolded, snapshots.left_alone) == ((), [], {})
