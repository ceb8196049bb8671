"""Where models stand whose state is payload: a chain without gaps, live and in replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import EventLog, Lifecycle, replay
from rat_fsm.errors import IllegalEvent
from rat_fsm.events import Observed, Recorded
from rat_fsm.lifecycles import NODE
from rat_fsm.projections.forking import ForkingModel
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.record import ObservedRecord

if TYPE_CHECKING:
    from pathlib import Path

ORDER = Lifecycle.observed("order")
LIFECYCLES = (ORDER, NODE)
STATES: st.SearchStrategy[Any] = st.sampled_from(["A", "B", ["A", "B"], ["A", ["B", "C"]]])


def where(model: ReadModel, id: str) -> Any:
    """The state of a model, None where it was never seen."""
    record = model.record("order", id)
    assert record is None or isinstance(record, ObservedRecord)
    return None if record is None else record.dest


@given(st.lists(st.tuples(st.sampled_from("xy"), st.none() | STATES, STATES), max_size=20))
def test_an_event_is_accepted_where_it_continues_its_stream(
    drawn: list[tuple[str, Any, Any]],
) -> None:
    """Its source must be the last destination, and live is replay."""
    last: dict[str, Any] = {}
    with EventLog(lifecycles=LIFECYCLES) as log:
        for id, source, dest in drawn:
            event = Observed("transition", "go", source, dest)
            if source == last.get(id):
                log.append(("order", id), event)
                last[id] = dest
            else:
                with pytest.raises(IllegalEvent):
                    log.append(("order", id), event)
        log.flush()
        again = replay(log, lifecycles=LIFECYCLES)
        assert again == log.read_model
        for model in (again, log.read_model):
            assert {id: where(model, id) for id in last} == last


def test_a_transaction_is_a_chain_too() -> None:
    """All of its events are accepted, or none."""
    with EventLog(lifecycles=LIFECYCLES) as log:
        first, second = Observed("attached", "", None, "A"), Observed("transition", "go", "A", "B")
        with pytest.raises(IllegalEvent) as caught:
            log.append(("order", "x"), first, second, second)
        assert str(caught.value) == (
            "order/x is 'B' and cannot take order.observed from 'A'; "
            "legal now: order.observed from 'B'"
        )
        assert log.read_model.record("order", "x") is None
        log.append(("order", "x"), first, second)
        assert where(log.read_model, "x") == "B"


def test_a_gap_that_is_met_on_reading_changes_nothing_and_is_counted() -> None:
    """Whatever is in a log folds."""
    with EventLog(lifecycles=LIFECYCLES) as log:
        log.append(("order", "x"), Observed("attached", "", None, "A"))
        log.append(("order", "x"), Observed("transition", "go", "A", "B"))
        log.flush()
        read = list(log.read())

    model = ReadModel(LIFECYCLES)
    for recorded in read:
        model.apply(recorded if recorded.version == 1 else _from(recorded, "C"))
    record: Any = model.record("order", "x")
    assert (record.dest, record.version, model.totals.illegal) == ("A", 2, 1)


def _from(recorded: Recorded, source: str) -> Recorded:
    if not isinstance(recorded.event, Observed):
        return recorded
    return attrs.evolve(recorded, event=attrs.evolve(recorded.event, source=source))


def test_snapshots_have_the_state(tmp_path: Path) -> None:
    """A log that is opened again goes on where it was."""
    url = tmp_path / "log.db"
    for source, dest in ((None, "A"), ("A", ["B", "C"])):
        with EventLog.open(url, lifecycles=LIFECYCLES, writer="w") as log:
            log.append(("order", "x"), Observed("transition", "go", source, dest))
    model = ReadModel(LIFECYCLES)
    model.load(replay(url, lifecycles=LIFECYCLES).dump())
    assert where(model, "x") == ["B", "C"]


def test_a_fork_goes_on_by_itself() -> None:
    """What it folds is none of the other's."""
    with EventLog(lifecycles=LIFECYCLES) as log:
        log.append(("order", "x"), Observed("attached", "", None, "A"))
        log.append(("order", "x"), Observed("transition", "go", "A", "B"))
        log.flush()
        *before, last = log.read()
    model = ForkingModel(LIFECYCLES)
    for recorded in before:
        model.apply(recorded)
    other = model.fork()
    other.apply(last)
    assert (where(model, "x"), where(other, "x")) == ("A", "B")


def test_a_lifecycle_that_observes_may_have_any_name() -> None:
    """Even that of one of ours."""
    mine = Lifecycle.observed("connection")
    with EventLog(lifecycles=(mine,)) as log:
        log.append(("connection", "x"), Observed("attached", "", None, "A"))
        log.append(("connection", "x"), Observed("transition", "go", "A", "B"))
        log.flush()
        again = replay(log, lifecycles=(mine, NODE))
        assert again == log.read_model
        model = ReadModel((mine, NODE))
        model.load(again.dump())
        for each in (log.read_model, again, model):
            record: Any = each.record("connection", "x")
            assert (record.dest, record.version) == ("B", 2)
