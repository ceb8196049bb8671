"""Proofs about one event, and about two checkpoints, for somebody without the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest

from rat_fsm.audit import EventProof, check_extension, prove_event, prove_extension, seal_log
from rat_fsm.audit.leaves import SALT
from rat_fsm.errors import InvalidArgument, Unproven
from rat_fsm.events import Position
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events
from tests.audit.logs import KEY, rechain, sealed
from tests.logs import execute, register

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.audit import Checkpoint

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that grew after its first checkpoint."""
    return tmp_path_factory.mktemp("log") / "log.db"


@pytest.fixture(scope="module")
def checkpoints(path: Path) -> list[Checkpoint]:
    """Four checkpoints of it, as it grew."""
    made = [sealed(path)]
    for writer in ("w0", "w1", "w2"):
        with EventLog.open(path, writer=writer) as log:
            register(log, "late", "later")
        made.append(seal_log(path, KEY)[0])
    return made


def test_every_event_of_a_checkpoint_is_proven(path: Path, checkpoints: list[Checkpoint]) -> None:
    """Each has a proof that says what the event was and holds for that checkpoint only."""
    older, *_, newer = checkpoints
    for index, recorded in enumerate(read_events(path)):
        position = recorded.position
        assert position is not None
        proof = prove_event(path, position, newer)
        proof.check(newer)
        frame, writer, first, _, offset, *_ = json.loads(proof.data[SALT:])
        assert (Position(frame, offset), writer, first + offset) == (
            position,
            recorded.writer,
            recorded.seq,
        )
        assert proof.index == index
        with pytest.raises(Unproven):
            proof.check(older)
        with pytest.raises(Unproven):
            attrs.evolve(proof, data=proof.data.replace(b"10.0.0.1", b"10.0.0.2") + b" ").check(
                newer
            )


def test_a_proof_says_nothing_of_other_events(path: Path, checkpoints: list[Checkpoint]) -> None:
    """It is one leaf and a few hashes: as many as the tree is high."""
    proof = prove_event(path, Position(3, 0), checkpoints[0])
    assert [len(node) for node in proof.path] == [32] * 4
    assert json.loads(proof.data[SALT:])[5][:2] == ["connection", "c0"]


@pytest.mark.parametrize(
    "position", [Position(0, 0), Position(1, 2), Position(1, -1), Position(99, 0)]
)
def test_what_is_not_there_is_not_proven(
    position: Position, path: Path, checkpoints: list[Checkpoint]
) -> None:
    """A position without an event is refused."""
    with pytest.raises(InvalidArgument, match=f"there is no event {position}"):
        prove_event(path, position, checkpoints[0])


def test_what_came_later_is_not_proven(path: Path, checkpoints: list[Checkpoint]) -> None:
    """An event that was recorded after the checkpoint is not among its own."""
    with pytest.raises(InvalidArgument, match="there is no leaf 16 in a tree of 16"):
        prove_event(path, Position(7, 0), checkpoints[0])


def test_each_checkpoint_extends_those_before(path: Path, checkpoints: list[Checkpoint]) -> None:
    """A proof between any two holds for these two, and for no others."""
    for number, newer in enumerate(checkpoints):
        for older in checkpoints[: number + 1]:
            proof = prove_extension(path, older, newer)
            check_extension(older, newer, proof)
            forged = attrs.evolve(older, root=bytes(32))
            with pytest.raises(Unproven):
                check_extension(forged, newer, proof)
            with pytest.raises(Unproven):
                prove_extension(path, forged, newer)
    with pytest.raises(InvalidArgument, match="extends none of"):
        prove_extension(path, checkpoints[1], checkpoints[0])


def test_of_another_log_nothing_is_proven(tmp_path: Path, checkpoints: list[Checkpoint]) -> None:
    """A log that was rewritten cannot prove anything about its checkpoints any more."""
    path = tmp_path / "log.db"
    mine = sealed(path)
    execute(path, "UPDATE frames SET body = replace(body, '10.0.0.1', '10.0.0.2')")
    rechain(path)
    with pytest.raises(Unproven):
        prove_event(path, Position(3, 0), mine)
    with pytest.raises(Unproven):
        prove_extension(path, attrs.evolve(mine, size=7), mine)
    with pytest.raises(Unproven, match="was asked for, and there are 16"):
        prove_event(path, Position(3, 0), checkpoints[-1])


def test_a_proof_is_plain_values() -> None:
    """It can be sent as JSON and made again from what arrives."""
    proof = EventProof(0, b"leaf", (b"a",))
    assert EventProof(**attrs.asdict(proof, recurse=False)) == proof
