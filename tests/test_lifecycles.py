"""The two lifecycles are what the design says, and run as `transitions` itself would run them."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transitions import Machine, MachineError

from rat_fsm import events
from rat_fsm.core import abandon_connection, abandon_node
from rat_fsm.errors import IllegalEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle
from tests.orders import ORDER

UNCHANGED = None
Table = dict[str, tuple[str, str | None, str]]

# Section 3 of the design: event → where from, where to, payload.
CONNECTION_TABLE: Table = {
    "Registered": ("new", "connecting", "remote_addr, kind, metadata, continues"),
    "Activated": ("connecting, retrying", "active", "route"),
    "ActivityRecorded": ("active, closing", UNCHANGED, "bytes_sent, messages_sent"),
    "ErrorRecorded": (
        "connecting, active, retrying, closing",
        UNCHANGED,
        "error_type, message, category, retryable",
    ),
    "RetryScheduled": (
        "connecting, active, retrying",
        "retrying",
        "attempt, delay, draw, cap, category, policy",
    ),
    "RetryRefused": ("connecting, active, retrying", UNCHANGED, "cause, policy"),
    "Recovered": ("retrying", "active", "attempts"),
    "RetriesReset": ("active, retrying", "active", ""),
    "Stalled": ("active", UNCHANGED, "waited"),
    "Unstalled": ("active", UNCHANGED, "waited"),
    "Closing": (
        "connecting, active, retrying",
        "closing",
        "reason, ended_by, phase, code",
    ),
    "Closed": (
        "closing",
        "closed",
        "reason, bytes_sent, messages_sent, errors, retries, duration",
    ),
}
ANY_BUT_STOPPED = "starting, serving, draining, forcing"
NODE_TABLE: Table = {
    "Started": ("new", "starting", "lifecycles, versions, limits, policy"),
    "Serving": ("starting", "serving", ""),
    "ConnectionRefused": (ANY_BUT_STOPPED, UNCHANGED, "cause, count"),
    "CallbackFailed": (ANY_BUT_STOPPED, UNCHANGED, "connection, error"),
    "MonitorViolated": (
        *(ANY_BUT_STOPPED, UNCHANGED),
        "monitor, cause, lifecycle, id, born, since, by, at",
    ),
    "StoreRestored": (ANY_BUT_STOPPED, UNCHANGED, "error, seconds, retries, spilled"),
    "WriterReplaced": (ANY_BUT_STOPPED, UNCHANGED, "writer, set_aside, file"),
    "DrainRequested": ("new", "stopped", "actor"),
    "DrainStarted": ("starting, serving", "draining", "deadline, open, requested_by"),
    "DrainForced": ("draining", "forcing", "remaining"),
    "Stopped": (ANY_BUT_STOPPED, "stopped", "report"),
}


def moves(source: str, dest: str | None) -> dict[str, str]:
    """A column of a table: where from → where to."""
    states = source.split(", ")
    return dict(zip(states, states if dest is None else [dest] * len(states), strict=True))


def expected(table: Table) -> dict[str, tuple[int, tuple[str, ...], dict[str, str]]]:
    """Event → schema version, payload, moves."""
    return {
        name: (1, tuple(filter(None, payload.split(", "))), moves(source, dest))
        for name, (source, dest, payload) in table.items()
    }


def compiled(lifecycle: Lifecycle) -> dict[str, tuple[int, tuple[str, ...], dict[str, str]]]:
    """The same of a lifecycle as it was compiled."""
    return {
        kind.cls.__name__: (kind.version, kind.fields, dict(kind.moves))
        for kind in lifecycle.events
    }


@pytest.mark.parametrize(
    ("lifecycle", "table"), [(CONNECTION, CONNECTION_TABLE), (NODE, NODE_TABLE)]
)
def test_the_tables_are_those_of_the_design(lifecycle: Lifecycle, table: Table) -> None:
    """Every edge, every payload, no more and no less."""
    assert compiled(lifecycle) == expected(table)


def test_what_else_the_lifecycles_declare() -> None:
    """Names, states, ends, what becomes of streams whose writer died, and that ids come again."""
    declared: list[Any] = [
        (lc.name, lc.initial, lc.states, lc.final, lc.abandon, lc.reusable_ids)
        for lc in (CONNECTION, NODE)
    ]
    assert declared == [
        (
            "connection",
            "new",
            ("connecting", "active", "retrying", "closing", "closed"),
            {"closed"},
            abandon_connection,
            True,
        ),
        (
            "node",
            "new",
            ("starting", "serving", "draining", "forcing", "stopped"),
            {"stopped"},
            abandon_node,
            True,
        ),
    ]


def test_every_event_of_the_vocabulary_has_a_lifecycle() -> None:
    """Tags follow from the class names, and all of them differ."""
    tags = [kind.tag for lifecycle in (CONNECTION, NODE) for kind in lifecycle.events]
    assert len(set(tags)) == len(tags) == len(CONNECTION_TABLE) + len(NODE_TABLE)
    envelopes = {"UnknownEvent", "Position", "Stream", "Recorded"}
    words = {c.__name__ for c in vars(events).values() if isinstance(c, type) and attrs.has(c)}
    observed = {"Observed"}  # of lifecycles that observe another machine, by whatever name
    assert words - envelopes - observed == CONNECTION_TABLE.keys() | NODE_TABLE.keys()
    assert {tag for tag in tags if "retr" in tag} == {
        "connection.retry_scheduled",
        "connection.retry_refused",
        "connection.retries_reset",
    }


CLASSES = [attrs.make_class(f"Event{number}", [], frozen=True) for number in range(5)]
STATES = ("a", "b", "c", "d")


@st.composite
def lifecycles(draw: st.DrawFn) -> Lifecycle:
    """Any lifecycle in any notation: a way through all states, and more ways beside it."""
    path = ["new", *STATES, "end"]
    rows: list[Any] = [[CLASSES[0], source, dest] for source, dest in itertools.pairwise(path)]
    for cls in CLASSES[1:]:
        sources = draw(st.sampled_from(["*", "a"]) | st.lists(st.sampled_from(STATES), unique=True))
        dest = draw(st.sampled_from(["=", None, *STATES, "end"]))
        if draw(st.booleans()) and sources:
            rows.append({"trigger": cls, "source": sources, "dest": dest})
        elif sources:
            rows.append([cls, sources, dest])
    return Lifecycle("any", states=path[1:], final={"end"}, transitions=draw(st.permutations(rows)))


def real_machine(lifecycle: Lifecycle) -> Machine:
    """The rows of a lifecycle, run by `transitions` itself."""
    machine = Machine(
        states=[lifecycle.initial, *lifecycle.states],
        initial=lifecycle.initial,
        auto_transitions=False,
    )
    for row in lifecycle.transitions:
        parts: Any = row.values() if isinstance(row, dict) else row
        cls, source, dest = parts
        if source == "*":  # to `transitions` it would also be the initial and the final ones
            source = [state for state in lifecycle.states if state not in lifecycle.final]
        machine.add_transition(cls.__name__, source, dest)
    return machine


def fire(machine: Any, name: str) -> str | None:
    """Triggers an event; answers with the state it led to, None where it was refused."""
    try:
        machine.trigger(name)
    except MachineError:
        return None
    return str(machine.state)


@given(
    lifecycle=st.sampled_from([CONNECTION, NODE, ORDER]) | lifecycles(),
    walk=st.lists(st.integers(0, 11), max_size=40),
    legal=st.booleans(),
)
def test_the_compiled_table_runs_as_transitions_does(
    lifecycle: Lifecycle, walk: list[int], *, legal: bool
) -> None:
    """Step by step on walks of any events: the same states, and the same refusals."""
    machine, state = real_machine(lifecycle), lifecycle.initial
    for number in walk:
        choices = [k for k in lifecycle.events if not legal or state in k.moves]
        if not choices:
            break
        kind = choices[number % len(choices)]
        destination = lifecycle.next_state(state, kind.cls)
        assert fire(machine, kind.cls.__name__) == destination
        if destination is None:
            with pytest.raises(IllegalEvent):
                lifecycle.evolve(state, kind.cls)
        state = destination or state
        assert machine.state == state
