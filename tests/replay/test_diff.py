"""In what two read models differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given

from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, Registered
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from rat_fsm.replay.diff import Change, Kept, ModelDiff, StreamChange, diff_models
from rat_fsm.testing import VirtualClock
from tests.frames import LIFECYCLES
from tests.histories import histories

if TYPE_CHECKING:
    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel


def model_of(history: list[Recorded]) -> ReadModel:
    """The read model of some events."""
    return replay(history, lifecycles=LIFECYCLES)


@given(histories())
def test_a_model_does_not_differ_from_itself(history: list[Recorded]) -> None:
    """Nor from another one that has folded the same events, however it is asked."""
    for same_log in (True, False):
        found = diff_models(model_of(history), model_of(history), same_log=same_log)
        assert found == ModelDiff()
        assert not found


@given(histories(least=4))
def test_what_differs_is_told(history: list[Recorded]) -> None:
    """Every statistic, state, and stream that is not the same on both sides, and no other."""
    before, after = model_of(history[: len(history) // 2]), model_of(history)
    found = diff_models(before, after)
    a, b = before.stats.as_dict(), after.stats.as_dict()
    numbers = [name for name, value in a.items() if not isinstance(value, dict)]
    assert found.counts == tuple(Change(n, a[n], b[n]) for n in numbers if a[n] != b[n])
    reasons = {change.name: change.after - change.before for change in found.reasons}
    assert sum(reasons.values()) == b["closed_connections"] - a["closed_connections"]
    refused = sum(change.delta or 0 for change in found.refusals)
    assert refused == b["refused_connections"] - a["refused_connections"]
    # What began or ended in between is what the number of streams grew or shrank by.
    kept = [sum(len(model.records(w)) for w in model.cursor) for model in (before, after)]
    assert len(found.only_b) - len(found.only_a) == kept[1] - kept[0]
    # Looked at from the other side, everything is the other way round.
    back = diff_models(after, before)
    assert {(c.name, c.after, c.before) for c in back.states} == {
        (c.name, c.before, c.after) for c in found.states
    }
    assert (back.only_a, back.only_b) == (found.only_b, found.only_a)
    assert len(back.changed) == len(found.changed)


def two_moments() -> tuple[ReadModel, ReadModel]:
    """One connection that goes on, and one whose id is used again."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        log.begin()
        for name in ("on", "again"):
            log.append(("connection", name), Registered("10.0.0.1", "sse", {}))
        log.flush()
        before = replay(log)
        clock.advance(2)
        log.append(("connection", "on"), Activated("/x"), ActivityRecorded(1000, 2))
        closed = Closed("normal", 0, 0, 0, 0, 2.0)
        log.append(("connection", "again"), Closing("normal", "app", "handshake"), closed)
        log.append(("connection", "again"), Registered("10.0.0.1", "sse", {}))
        log.flush()
        return before, replay(log)


def test_between_moments_a_life_is_a_stream() -> None:
    """An id that ended and began again is gone, and new; what went on is told field by field."""
    before, after = two_moments()
    at = before.last_at["w0"]
    assert diff_models(before, after) == ModelDiff(
        counts=(
            Change("total_connections", 2, 3),
            Change("closed_connections", 0, 1),
            Change("total_bytes_sent", 0, 1000),
            Change("total_messages_sent", 0, 2),
            Change("average_response_time", 0.0, 2.0),
        ),
        states=(
            Change("connection.connecting", 2, 1),
            Change("connection.active", 0, 1),
            Change("connection.closed", 0, 1),
        ),
        reasons=(Change("normal", 0, 1),),
        only_a=(Kept("connection", "again", "w0", 4, "connecting"),),
        only_b=(Kept("connection", "again", "w0", 9, "connecting"),),
        changed=(
            StreamChange(
                Kept("connection", "on", "w0", 3, "active"),
                (
                    Change("activated", before=False, after=True),
                    Change("bytes_sent", 0, 1000),
                    Change("last_activity", at, at + 2_000_000),
                    Change("messages_sent", 0, 2),
                    Change("route", "", "/x"),
                    Change("state", "connecting", "active"),
                    Change("version", 1, 3),
                ),
            ),
        ),
    )


def test_between_logs_an_id_is_a_stream() -> None:
    """Whoever wrote it, and when it was is left out where that is asked for."""
    before, after = two_moments()
    found = diff_models(before, after, same_log=False, times=False)
    assert (found.only_a, found.only_b) == ((), ())
    assert [change.stream.id for change in found.changed] == ["on"]
    names = {change.name for change in (*found.counts, *found.changed[0].changes)}
    assert names & {"average_response_time", "last_activity", "created_at"} == set()


def test_how_much_a_number_grew() -> None:
    """Only numbers grow."""
    assert Change("n", 3, 1).delta == -2
    assert Change("n", 0.5, 1).delta == 0.5
    for pair in ((None, 1), (1, None), ("a", "b"), (False, True)):
        assert Change("n", *pair).delta is None
