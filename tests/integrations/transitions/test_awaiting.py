"""The twins of machines whose triggers are awaited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from transitions import Machine, MachineError
from transitions.extensions import AsyncMachine

from rat_fsm.events import Observed
from rat_fsm.integrations.transitions import event_sourced
from tests.integrations.transitions.machines import AWAITED, Model, folded, graph_free, told

MOVES: list[list[Any]] = [["go", "A", "B"], ["stay", "B", None], ["back", "B", "A"]]


def made(model: Any, cls: type[Machine] = AsyncMachine, **options: Any) -> Any:
    """A twin for a model."""
    defaults = {"states": ["A", "B"], "initial": "A", "transitions": MOVES}
    return event_sourced(cls)(model, **{**defaults, **graph_free(cls), **options})


@pytest.mark.parametrize("cls", AWAITED, ids=lambda cls: cls.__name__)
def test_each_change_is_an_event_of_its_kind(cls: type[Machine]) -> None:
    """As of a machine that is not awaited."""
    model = Model()
    machine = made(model, cls)

    async def run() -> None:
        assert await model.go()
        assert await model.stay()
        with pytest.raises(MachineError):
            await model.go()
        machine.set_state("A", model)

    asyncio.run(run())
    assert told(machine, model) == [
        Observed("attached", "", None, "A"),
        Observed("transition", "go", "A", "B"),
        Observed("internal", "stay", "B", "B"),
        Observed("rejected", "go", "B", "B", "MachineError"),
        Observed("forced", "", "B", "A"),
    ]
    assert folded(machine, model) == model.state == "A"
    machine.event_log.close()


def test_a_name_that_is_no_trigger_is_rejected() -> None:
    """Though there is nothing to await."""
    model = Model()
    machine = made(model)
    with pytest.raises(AttributeError):
        model.trigger("fly")
    assert told(machine, model)[-1] == Observed("rejected", "fly", "A", "A")
    machine.event_log.close()


def test_models_that_change_at_once_do_not_mix() -> None:
    """What is in flight is a matter of the task; each stream is whole and in order."""

    async def pause() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    models: list[Any] = [Model(str(number)) for number in range(20)]
    states = [{"name": name, "on_exit": pause, "on_enter": pause} for name in "AB"]
    machine = made(models, states=states)

    async def lap(model: Any) -> None:
        for _ in range(5):
            await model.go()
            await model.back()

    async def run() -> None:
        await asyncio.gather(*map(lap, models))

    asyncio.run(run())
    for model in models:
        changes = [(e.kind, e.trigger) for e in told(machine, model)]
        assert changes == [("attached", ""), *[("transition", "go"), ("transition", "back")] * 5]
        assert folded(machine, model) == model.state == "A"
    machine.event_log.close()


def test_a_cancelled_trigger_has_failed() -> None:
    """`AsyncMachine` swallows the cancellation; the log has it."""
    model = Model()
    machine = made(model, states=["A", {"name": "B", "on_enter": lambda: asyncio.sleep(60)}])

    async def run() -> None:
        task = asyncio.create_task(model.go())
        while model.state == "A":  # noqa: ASYNC110 - it enters the state after some turns
            await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(run())
    assert [(e.kind, e.dest, e.error) for e in told(machine, model)][1:] == [
        ("transition", "B", ""),
        ("failed", "B", "CancelledError"),
    ]
    machine.event_log.close()


@pytest.mark.parametrize("queued", [True, "model"])
def test_queued_triggers_are_told_when_they_run(queued: bool | str) -> None:  # noqa: FBT001 - a case
    """A nested trigger waits for the outer one to end."""
    model = Model()
    machine = made(model, states=["A", {"name": "B", "on_enter": "back"}], queued=queued)

    async def run() -> None:
        assert await model.go()

    asyncio.run(run())
    assert [event.trigger for event in told(machine, model)] == ["", "go", "back"]
    machine.event_log.close()
