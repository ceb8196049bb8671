"""Relative to a checkpoint kept elsewhere, every kind of tampering is found."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rat_fsm.audit import (
    Checkpoint,
    PrivateKey,
    parse_checkpoint,
    parse_note,
    seal_log,
    witnesses_of,
)
from rat_fsm.audit.leaves import leaves_of
from rat_fsm.audit.merkle import EMPTY
from rat_fsm.codec import open_body
from rat_fsm.errors import HistoryEvicted, InvalidArgument, StoreUnreadable, Unproven
from rat_fsm.log import EventLog
from rat_fsm.log.heads import Head
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from tests.audit.logs import KEY, rechain, rechained, renumber, report_on, sealed
from tests.audit.test_merkle import mth
from tests.chains import showing
from tests.logs import execute, register

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """A log of two writers, and its checkpoint."""
    path = tmp_path_factory.mktemp("made") / "log.db"
    return path, sealed(path)


@pytest.fixture
def path(made: tuple[Path, Checkpoint], tmp_path: Path) -> Path:
    """A copy of the log, to tamper with."""
    return Path(shutil.copy(made[0], tmp_path / "log.db"))


@pytest.fixture
def checkpoint(made: tuple[Path, Checkpoint]) -> Checkpoint:
    """Its checkpoint, which was kept elsewhere."""
    return made[1]


def test_a_checkpoint_is_what_the_log_holds(path: Path) -> None:
    """Size, root and heads, computed by other means; the note is signed and reads back."""
    checkpoint, note = seal_log(path, KEY)
    with contextlib.closing(open_store(path)) as store:
        leaves = [leaf for stored in store.read() for leaf in leaves_of(stored, open_body(stored))]
        heads = {
            writer: Head(stored.position, stored.frame.hash.hex())
            for writer, stored in store.heads().items()
        }
    assert checkpoint == Checkpoint("example.com/log", 16, mth(leaves), heads)
    read = parse_note(note.encode())
    read.check(KEY.public)
    assert parse_checkpoint(read.text) == checkpoint


def test_an_empty_log_is_sealed_as_such() -> None:
    """Its tree is the empty one, which every log extends."""
    checkpoint, _ = seal_log(MemoryStore(), KEY, origin="another.example/log")
    assert checkpoint == Checkpoint("another.example/log", 0, EMPTY, {})
    assert hashlib.sha256(b"").digest() == EMPTY


def test_a_log_of_this_process_is_sealed() -> None:
    """A log in memory too, what is durable of it, while it goes on."""
    with EventLog() as log:
        register(log, "c1")
        log.flush()
        checkpoint, _ = seal_log(log, KEY)
        register(log, "c2")
        log.flush()
        later, _ = seal_log(log, KEY, before=checkpoint)
    assert checkpoint.size < later.size


def test_a_log_extends_its_checkpoints(path: Path, checkpoint: Checkpoint) -> None:
    """It does so at once, and after it has grown, by other writers too; each of them at a time."""
    assert report_on(path, checkpoint).sound
    checkpoints = [checkpoint]
    for writer in ("w0", "w1", "w7"):
        with EventLog.open(path, writer=writer) as log:
            register(log, f"{writer} later")
        checkpoints.append(seal_log(path, KEY, before=checkpoints[-1])[0])
    assert report_on(path, *checkpoints).sound
    assert [c.size for c in checkpoints] == sorted({c.size for c in checkpoints})


def test_a_checkpoint_may_end_within_a_frame(path: Path, checkpoint: Checkpoint) -> None:
    """Somebody else may have sealed any number of events: as many are compared."""
    with contextlib.closing(open_store(path)) as store:
        leaves = [leaf for stored in store.read() for leaf in leaves_of(stored, open_body(stored))]
    for size in range(17):
        shorter = attrs.evolve(checkpoint, size=size, root=mth(leaves[:size]), heads={})
        assert report_on(path, shorter).sound
        assert not size or not report_on(path, attrs.evolve(shorter, root=EMPTY)).sound


TAMPERINGS: Final[dict[str, Callable[[Path], object]]] = {
    "edit an event": lambda path: execute(
        path, "UPDATE frames SET body = replace(body, '10.0.0.1', '10.0.0.2') WHERE position = 3"
    ),
    "edit the time": lambda path: execute(
        path, "UPDATE frames SET first_at = first_at - 1, last_at = last_at - 1 WHERE position = 1"
    ),
    "edit the salt": lambda path: execute(
        path, "UPDATE frames SET salt = zeroblob(16) WHERE position = 4"
    ),
    "edit the definitions in force": lambda path: execute(
        path, "UPDATE frames SET fingerprints = '[]' WHERE position = 5"
    ),
    "delete a frame": lambda path: execute(path, "DELETE FROM frames WHERE position = 3"),
    "delete a writer": lambda path: execute(path, "DELETE FROM frames WHERE writer = 'w1'"),
    "rename a writer": lambda path: execute(
        path, "UPDATE frames SET writer = 'w9' WHERE writer = 'w1'"
    ),
    "swap two frames of a writer": lambda path: execute(
        path,
        "UPDATE frames SET position = 99 WHERE position = 3",
        "UPDATE frames SET position = 3 WHERE position = 5",
        "UPDATE frames SET position = 5 WHERE position = 99",
    ),
    "swap frames of two writers": lambda path: execute(
        path,
        "UPDATE frames SET position = 99 WHERE position = 3",
        "UPDATE frames SET position = 3 WHERE position = 4",
        "UPDATE frames SET position = 4 WHERE position = 99",
    ),
    "truncate the tail": lambda path: execute(path, "DELETE FROM frames WHERE position = 6"),
    "truncate everything": lambda path: execute(path, "DELETE FROM frames"),
    "put in a frame": lambda path: execute(
        path,
        "UPDATE frames SET position = position + 1000 WHERE position > 1",
        "UPDATE frames SET position = position - 999 WHERE position > 1000",
        "INSERT INTO frames SELECT 2, 'w5', 1, count, first_at, last_at, fingerprints, salt, body,"
        " prev, hash, format, algorithm FROM frames WHERE position = 1",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(name: str, path: Path, checkpoint: Checkpoint) -> None:
    """Whatever somebody does with SQL, the log no longer extends its checkpoint."""
    TAMPERINGS[name](path)
    assert not report_on(path, checkpoint).sound


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_with_every_hash_made_right_is_found(
    name: str, path: Path, checkpoint: Checkpoint
) -> None:
    """The same by somebody who then renumbers all frames and computes every hash anew.

    The log alone is sound then: without a checkpoint nobody can tell.
    """
    TAMPERINGS[name](path)
    renumber(path)
    rechain(path)
    assert report_on(path).sound
    problems = report_on(path, checkpoint).problems
    assert problems
    sealed_as = "16 events sealed as example.com/log"
    told = {problem.message for problem in problems}
    assert any(sealed_as in message or " events are not those" in message for message in told) or (
        name == "edit the definitions in force"  # no event says them: the heads do
    )


def test_a_rewritten_log_is_found_by_both_witnesses(path: Path, checkpoint: Checkpoint) -> None:
    """The tree says that events have changed, and the heads say whose frames have."""
    TAMPERINGS["edit an event"](path)
    rechain(path)
    assert [attrs.astuple(problem) for problem in report_on(path, checkpoint).problems] == [
        (5, "w0", "frame 5 of w0 is not the one it was"),
        (6, "", "the first 16 events are not those sealed as example.com/log"),
    ]


def test_another_log_in_its_place_is_found(
    path: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """A file that is sound, of the same writers and as long, is not the log that was sealed."""
    other = tmp_path / "other.db"
    theirs = sealed(other)
    shutil.copy(other, path)
    assert report_on(path).sound
    assert report_on(path, theirs).sound
    assert [problem.position for problem in report_on(path, checkpoint).problems] == [5, 6, 6]


def test_a_tail_that_grew_again_is_found(path: Path, checkpoint: Checkpoint) -> None:
    """A log that was cut and then written on by an honest server is sound, and is another."""
    execute(
        path,
        "DELETE FROM frames WHERE position = 6",
        "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'frames'",
    )
    with EventLog.open(path, writer="w1") as log:
        for number in range(20):
            register(log, f"new {number}")
    assert report_on(path).sound
    assert not report_on(path, checkpoint).sound


def test_what_came_after_the_checkpoint_is_not_covered(path: Path, checkpoint: Checkpoint) -> None:
    """Events that were recorded and lost since the last checkpoint are missed by nobody.

    This is what sealing cannot do: seal often.
    """
    with EventLog.open(path, writer="w0") as log:
        register(log, "a secret")
        log.flush()
        assert report_on(path, checkpoint).sound
    execute(path, "DELETE FROM frames WHERE position > 6", "DELETE FROM snapshots")
    assert report_on(path, checkpoint).sound


def test_a_checkpoint_of_more_than_there_is(path: Path, checkpoint: Checkpoint) -> None:
    """However large it says that the log was, that is one problem and no loop."""
    grown = attrs.evolve(checkpoint, size=10**17)
    ((problem),) = report_on(path, grown).problems
    sealed_as = "of the 100000000000000000 events sealed as example.com/log"
    assert problem.message == f"{sealed_as} the log has the first 16 at most"


def test_a_damaged_log_is_not_proven(path: Path, checkpoint: Checkpoint) -> None:
    """Where the chain is broken the tree cannot be computed, which is said, not guessed."""
    execute(path, "UPDATE frames SET body = 'x' WHERE position = 3")
    messages = [problem.message for problem in report_on(path, checkpoint).problems]
    sealed_as = "the 16 events sealed as example.com/log"
    assert f"{sealed_as} cannot be proven: the log is damaged among them" in messages


def test_a_damaged_log_is_not_sealed(path: Path) -> None:
    """No signature is put under a log that is not sound."""
    execute(path, "UPDATE frames SET salt = zeroblob(16) WHERE position = 3")
    with pytest.raises(Unproven, match="is not sealed: frame 3 is damaged"):
        seal_log(path, KEY)


def test_two_pasts_are_not_sealed(path: Path, checkpoint: Checkpoint) -> None:
    """Given its last checkpoint, a log that does not extend it is not sealed again."""
    TAMPERINGS["edit an event"](path)
    rechain(path)
    with pytest.raises(Unproven, match="is not sealed: frame 5 of w0 is not the one it was"):
        seal_log(path, KEY, before=checkpoint)
    with pytest.raises(InvalidArgument, match=r"is of example.com/log, not of other\.example"):
        seal_log(path, KEY, origin="other.example", before=checkpoint)


def test_what_cannot_be_sealed(tmp_path: Path) -> None:
    """A log that is missing, or whose beginning is gone, or a name that is no line."""
    with pytest.raises(StoreUnreadable):
        seal_log(tmp_path / "missing.db", KEY)
    with pytest.raises(InvalidArgument):
        seal_log(MemoryStore(), KEY, origin="two\nlines")
    log = EventLog(MemoryStore(max_events=5))
    for name in ("c1", "c2"):
        register(log, name)
        log.flush()
    with pytest.raises(HistoryEvicted):
        seal_log(log, KEY)
    log.close()


@given(
    column=st.sampled_from(
        ["writer", "count", "first_at", "last_at", "salt", "body", "fingerprints"]
    ),
    position=st.integers(1, 6),
    by=st.integers(1, 255),
    place=st.integers(0, 10_000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_change_of_a_sealed_frame_is_missed(
    made: tuple[Path, Checkpoint], column: str, position: int, by: int, place: int
) -> None:
    """A change of any column by any amount, with every hash made right, is found."""
    path, checkpoint = made
    with contextlib.closing(open_store(path)) as store:
        frames = list(store.read())
    value: Any = getattr(frames[position - 1].frame, column)
    if isinstance(value, bytes):
        index = place % len(value)
        changed: Any = value[:index] + bytes([value[index] ^ by]) + value[index + 1 :]
    else:
        changed = value + by if isinstance(value, int) else (*value, "x")
        changed = f"{value}x" if isinstance(value, str) else changed
    changes = {column: changed}
    frames[position - 1] = attrs.evolve(
        frames[position - 1], frame=attrs.evolve(frames[position - 1].frame, **changes)
    )
    forged = showing(rechained(frames))
    assert not verify_log(forged, witnesses_of(checkpoint)).sound


def test_a_key_may_seal_many_logs(path: Path) -> None:
    """The origin tells them apart; by default it is the key's name."""
    key = PrivateKey("operator.example", bytes(32))
    assert seal_log(path, key)[0].origin == "operator.example"
    assert seal_log(path, key, origin="example.com/log 1")[0].origin == "example.com/log 1"
