"""A fork is a model of its own, though it shares nearly everything with the one it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.events import Activated, Registered
from rat_fsm.projections.forking import ForkingModel
from rat_fsm.projections.model import ReadModel
from tests.frames import LIFECYCLES
from tests.histories import Recorder, histories

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.events import Recorded


def known(model: ReadModel) -> Any:
    """Everything that a model says, and what it finds by name."""
    found = {
        (name, stream_id): (record.writer, record.born)
        for name in model.lifecycles
        for stream_id, record in model.ids(name).items()
    }
    return model, model.cursor, model.last_at, dict(model.connections), dict(model.retry), found


def fold(model: ReadModel, history: Iterable[Recorded]) -> ReadModel:
    """The model, having folded some more."""
    for recorded in history:
        model.apply(recorded)
    return model


@given(histories(least=8), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=12))
def test_a_fork_folds_on_by_itself(history: Any, plan: Any) -> None:
    """Whichever of a family of forks folds on, in any order, each knows just what it has folded."""
    family, read = [ForkingModel(LIFECYCLES)], [0]
    for number, steps in plan:
        chosen = number % len(family)
        family.append(family[chosen].fork())
        read.append(read[chosen])
        fold(family[chosen], history[read[chosen] : read[chosen] + steps])
        read[chosen] = min(read[chosen] + steps, len(history))
    for model, count in zip(family, read, strict=True):
        assert known(model) == known(fold(ReadModel(LIFECYCLES), history[:count]))
        assert model.events == count


def test_what_forks_share_is_copied_once() -> None:
    """After a fork a record is found by `resolve` alone, which makes it the model's own."""
    recorder = Recorder()
    registered = recorder.record("connection", "a", Registered("10.0.0.1"))
    model = ForkingModel(LIFECYCLES)
    model.apply(registered)
    assert list(model.known("w0")) == [1]
    fork = model.fork()
    assert (model.known("w0"), fork.known("w0")) == ({}, {})
    record = fork.resolve("w0", "connection", "a", 1)
    assert record is not model.record("connection", "a")
    assert fork.resolve("w0", "connection", "a", 1) is record


@given(histories(least=8))
def test_a_dump_holds_everything(history: Any) -> None:
    """A model that was dumped and loaded, as JSON, knows the same and folds on the same.

    That includes whom an id finds where several writers have it open.
    """
    half = len(history) // 2
    model = fold(ForkingModel(LIFECYCLES), history[:half])
    loaded = ForkingModel(LIFECYCLES)
    loaded.load(msgspec.json.decode(msgspec.json.encode(model.dump())))
    assert known(loaded) == known(model)
    assert known(fold(loaded, history[half:])) == known(fold(model, history[half:]))


def test_a_dump_without_the_hidden_is_one_of_a_writer() -> None:
    """Snapshots of older versions do not say who is hidden: nobody is."""
    recorder = Recorder()
    recorded = [
        recorder.record("connection", "a", event) for event in (Registered("10.0.0.1"), Activated())
    ]
    model = fold(ReadModel(LIFECYCLES), recorded)
    dump = model.dump()
    assert dump.pop("hidden") == []
    loaded = ReadModel(LIFECYCLES)
    loaded.load(dump)
    assert known(loaded) == known(model)


def test_who_was_registered_last_is_found() -> None:
    """Of two open streams with one id a dump keeps apart the one that the id finds."""
    recorder = Recorder()
    history = [
        recorder.record("connection", "a", Registered(f"10.0.0.{number}"), writer=writer)
        for number, writer in enumerate(("w1", "w0"))
    ]
    model = ForkingModel(LIFECYCLES)
    fold(model, history)
    assert model.held == 2
    loaded = ForkingModel(LIFECYCLES)
    loaded.load(msgspec.json.decode(msgspec.json.encode(model.dump())))
    assert loaded.connections["a"].remote_addr == "10.0.0.1"
    assert known(loaded) == known(model)
