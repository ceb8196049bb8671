"""Compiling a lifecycle: what its table says, and everything it refuses."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transitions import State

from rat_fsm.errors import IllegalEvent, InvalidLifecycle
from rat_fsm.events import Observed
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.table import EventType, Lifecycle, fingerprint_of, snake_case
from tests.orders import ORDER, New, Packed


@attrs.frozen
class Opened:
    """It began."""

    by: str = ""


@attrs.frozen
class Touched:
    """Something happened to it."""

    where: int = 0
    what: str = ""


@attrs.frozen
class Ended:
    """It is over."""


class Plain:
    """A class that is no attrs class."""


ROWS: list[Any] = [
    [Opened, "new", "open"],
    [Touched, "open", None],
    [Ended, "open", "done"],
]


def lifecycle(**changes: Any) -> Lifecycle:
    """A small lifecycle that compiles, with changes that may keep it from it."""
    usual = {"name": "job", "states": ("open", "done"), "final": {"done"}, "transitions": ROWS}
    return Lifecycle(**(usual | changes))


def edges(*rows: Any, **changes: Any) -> list[tuple[str, str, str]]:
    """The compiled table when these rows follow the usual ones."""
    return lifecycle(transitions=[*ROWS, *rows], **changes).rows()


def up(data: dict[str, Any]) -> dict[str, Any]:
    """An upcaster."""
    return data


@attrs.frozen
class Moved:
    """It went elsewhere."""


@attrs.frozen
class Starred:
    """It happens anywhere."""


USUAL = [
    ("job.opened", "new", "open"),
    ("job.touched", "open", "open"),
    ("job.ended", "open", "done"),
]
TWO: dict[str, Any] = {
    "states": ("open", "held", "done"),
    "transitions": [*ROWS, [Moved, "open", "held"], [Moved, "held", "open"]],
}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([[Moved, "open", "="]], [("job.moved", "open", "open")]),
        ([[Moved, "open", None]], [("job.moved", "open", "open")]),
        ([[Moved, "open", "open"]], [("job.moved", "open", "open")]),
        ([[Moved, ("open",), "open"]], [("job.moved", "open", "open")]),
        ([[Moved, ["new", "open"], "done"]], [("job.moved", s, "done") for s in ("new", "open")]),
        ([[Opened, "open", "="]], [("job.opened", "open", "open")]),
        (
            [{"trigger": Moved, "source": "open", "dest": "done"}],
            [("job.moved", "open", "done")],
        ),
    ],
)
def test_rows_are_read_as_transitions_reads_them(
    rows: list[Any], expected: list[tuple[str, str, str]]
) -> None:
    """Reflexive, internal, several sources, several rows for one event, rows as dicts."""
    assert sorted(edges(*rows)) == sorted(USUAL + expected)


@pytest.mark.parametrize(
    ("dest", "expected"),
    [
        ("=", {"open": "open", "held": "held"}),
        (None, {"open": "open", "held": "held"}),
        ("done", {"open": "done", "held": "done"}),
    ],
)
def test_a_star_is_every_state_that_is_not_final(
    dest: str | None, expected: dict[str, str]
) -> None:
    """Nor is it the initial one, where no stream exists."""
    job = lifecycle(**TWO | {"transitions": [*TWO["transitions"], [Starred, "*", dest]]})
    assert job.events[-1].moves == expected


def row_with(row: object) -> dict[str, Any]:
    """The usual rows and this one."""
    return {"transitions": [*ROWS, row]}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"name": "Job"}, "name 'Job' is not a lower-case identifier"),
    ({"name": "a.b"}, "name 'a.b' is not a lower-case identifier"),
    ({"name": "job\n"}, "name 'job\\n' is not a lower-case identifier"),
    ({"states": (), "final": ()}, "job has no states"),
    ({"states": ("open", 5, "done")}, "job: state 5 is not a string"),
    ({"initial": None}, "job: state None is not a string"),
    ({"final": {1}}, "job: state 1 is not a string"),
    ({"states": ("open", "done", "open")}, "job declares 'open' twice"),
    (
        {"states": ("new", "open", "done")},
        "'new' is the state before the first event; leave it out of states",
    ),
    ({"final": {"done", "gone"}}, "final names 'gone', which states does not declare"),
    ({"final": "done"}, "final names 'd', 'e', 'n', 'o', which states does not declare"),
    ({"final": ()}, "job is trapped in 'done', 'open': no way to a final state"),
    (row_with([Ended, "open", "done"]), "job has two ways for Ended from 'open'"),
    (row_with([Moved, ["open", "open"], "="]), "job has two ways for Moved from 'open'"),
    (row_with([Moved, "closed", "done"]), "job: row for Moved names unknown state 'closed'"),
    (row_with([Moved, "open", "closed"]), "job: row for Moved names unknown state 'closed'"),
    (row_with([Moved, ["*"], "done"]), "job: row for Moved names unknown state '*'"),
    (row_with([Moved, 5, "done"]), "job: row for Moved names unknown state 5"),
    (
        row_with([Moved, [["open"]], "done"]),
        "job: row for Moved does not compile: unhashable type: 'list'",
    ),
    (row_with([Moved, "open", "new"]), "job leads back to 'new', where a stream does not exist"),
    (row_with([Moved, "done", "open"]), "job has ways out of the final 'done'"),
    (row_with([Moved, "done", None]), "job has ways out of the final 'done'"),
    ({"states": ("open", "held", "done")}, "job can never reach 'held'"),
    (
        row_with([Moved, "open", "held"]) | {"states": ("open", "held", "done")},
        "job is trapped in 'held': no way to a final state",
    ),
    (row_with([Moved, [], "open"]), "job: row for Moved has no source"),
    (row_with([Moved, None, "open"]), "job: row for Moved has no source"),
    (
        {
            "states": ("done",),
            "transitions": [[Opened, "new", "done"], [Moved, "*", "="]],
        },
        "job: row for Moved has no source",
    ),
    (
        row_with([Moved, "open", ["done"]]),
        f"row {[Moved, 'open', ['done']]!r}: ['done'] is not a state",
    ),
    (
        row_with([Moved, "open", State]),
        f"row {[Moved, 'open', State]!r}: {State!r} is not a state",
    ),
    (
        row_with((Moved, "open", "done")),
        f"row {(Moved, 'open', 'done')!r} is not a list [event class, source(s), dest]",
    ),
    (row_with("moved"), "row 'moved' is not a list [event class, source(s), dest]"),
    (
        row_with([Moved, "open"]),
        f"row {[Moved, 'open']!r} is not a list [event class, source(s), dest]",
    ),
    (
        row_with([Moved, "open", "done", "is_allowed"]),
        "'is_allowed'] is not a list [event class, source(s), dest]",
    ),
    (row_with(["moved", "open", "done"]), "'moved' is not an attrs class"),
    (row_with([Plain, "open", "done"]), f"{Plain!r} is not an attrs class"),
    (row_with([Moved(), "open", "done"]), "Moved() is not an attrs class"),
    (row_with({"trigger": Moved, "source": "open"}), "wants trigger, source and dest"),
    *(
        (
            row_with({"trigger": Moved, "source": "open", "dest": "done", key: "x"}),
            f"has '{key}': conditions and callbacks are code",
        )
        for key in ("conditions", "unless", "before", "after", "prepare")
    ),
    (
        {"versions": {Touched: 3}, "upcasters": {(Touched, 1): up}},
        "job: Touched is at version 3 but has no upcaster from '2'",
    ),
    (
        {"versions": {Touched: 2}},
        "job: Touched is at version 2 but has no upcaster from '1'",
    ),
    ({"versions": {Touched: 0}}, "job: Touched is at version 0; versions count from 1"),
    ({"versions": {Touched: "2"}}, "job: Touched is at version '2'; versions count from 1"),
    ({"versions": {Moved: 1}}, "job has no row for 'Moved', which versions or upcasters name"),
    (
        {"upcasters": {(Moved, 1): up}},
        "job has no row for 'Moved', which versions or upcasters name",
    ),
    (
        row_with([attrs.make_class("Touched", []), "open", None]),
        "job has two event classes called 'job.touched'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=[m[:50] for _, m in REFUSALS])
def test_what_cannot_be_a_lifecycle_is_refused(changes: dict[str, Any], message: str) -> None:
    """At its declaration, and the message names what is wrong."""
    with pytest.raises(InvalidLifecycle, match=re.escape(message)):
        lifecycle(**changes)


def test_the_table_is_asked_by_event_or_by_class() -> None:
    """The next state, None where there is no way, or an error that says what was legal."""
    job = lifecycle(**TWO)
    assert [job.next_state("open", what) for what in (Moved, Moved(), Touched(1), Opened)] == [
        *("held", "held", "open"),
        None,
    ]
    assert job.next_state("open", Plain()) is None
    assert job.evolve("new", Opened("me")) == "open"
    with pytest.raises(IllegalEvent) as refused:
        job.evolve("held", Ended())
    error = refused.value
    assert (error.stream, error.state, error.event, error.legal) == (
        *("job", "held", "job.ended"),
        ("job.moved",),
    )
    with pytest.raises(IllegalEvent, match=r"cannot take .*\.Plain; legal now: nothing"):
        job.evolve("done", Plain)


def test_legal_lists_what_a_state_can_take() -> None:
    """Sorted by tag; a final state takes nothing."""
    job = lifecycle(**TWO)
    assert {state: job.legal(state) for state in ("new", *job.states)} == {
        "new": ("job.opened",),
        "open": ("job.ended", "job.moved", "job.touched"),
        "held": ("job.moved",),
        "done": (),
    }


def test_event_types_describe_what_is_written() -> None:
    """Tag, class, schema version, fields in order, column of the table, upcasters."""
    job = lifecycle(versions={Touched: 2}, upcasters={(Touched, 1): up})
    described = attrs.asdict(job.events[1], recurse=False)
    assert described == {
        "tag": "job.touched",
        "cls": Touched,
        "version": 2,
        "fields": ("where", "what"),
        "moves": {"open": "open"},
        "upcasters": {1: up},
        "lifecycle": "job",
    }
    assert job.event_type(Touched) is job.events[1]
    assert job.event_type(Moved) is None
    assert job.tag_of(Touched()) == job.tag_of(Touched) == "job.touched"
    assert all(isinstance(kind, EventType) for kind in job.events)


def test_a_definition_is_plain_and_whole() -> None:
    """What a writer records when it starts, so that its streams can be judged for ever."""
    assert lifecycle().definition == {
        "name": "job",
        "initial": "new",
        "states": ["open", "done"],
        "final": ["done"],
        "events": [
            ["job.opened", 1, ["by"]],
            ["job.touched", 1, ["where", "what"]],
            ["job.ended", 1, []],
        ],
        "edges": [list(edge) for edge in USUAL],
    }


@attrs.frozen
class Renamed:
    """Opened, under another name."""

    by: str = ""


def renamed_field() -> type:
    """The class Opened with a field of another name."""
    return attrs.make_class("Opened", ["by_whom"], frozen=True)


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"name": "task"},
    {"initial": "nothing", "transitions": [[Opened, "nothing", "open"], *ROWS[1:]]},
    {"states": ("done", "open")},
    {"final": {"done", "open"}, "transitions": [[Opened, "new", "open"], [Ended, "new", "done"]]},
    {"versions": {Touched: 2}, "upcasters": {(Touched, 1): up}},
    {"transitions": [[Renamed, "new", "open"], *ROWS[1:]]},
    {"transitions": [[renamed_field(), "new", "open"], *ROWS[1:]]},
    {"transitions": [*ROWS[:2], [Ended, ["new", "open"], "done"]]},
    {"transitions": [ROWS[0], [Touched, "open", "done"], ROWS[2]]},
]


def test_every_part_of_a_definition_is_in_its_fingerprint() -> None:
    """Ten lifecycles that differ in one part each have ten fingerprints."""
    fingerprints = {lifecycle(**changes).fingerprint for changes in DIFFERENT}
    assert len(fingerprints) == len(DIFFERENT)
    assert all(re.fullmatch(r"[0-9a-f]{32}", fingerprint) for fingerprint in fingerprints)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    """Also under another hash seed, and when the rows are spelled in another way."""
    spelled = [{"trigger": e, "source": s, "dest": d} for e, s, d in ROWS]
    assert lifecycle(transitions=spelled).fingerprint == lifecycle().fingerprint
    script = "from rat_fsm.lifecycles import *; print(CONNECTION.fingerprint, NODE.fingerprint)"
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert CONNECTION.fingerprint in printed.pop()


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_the_order_of_keys_does_not_change_a_fingerprint(definition: dict[str, Any]) -> None:
    """A definition that was written to JSON and read back has the same one."""
    backwards = dict(reversed(definition.items()))
    assert fingerprint_of(backwards) == fingerprint_of(definition)


@given(st.lists(st.from_regex(r"[A-Z][a-z0-9]+", fullmatch=True), min_size=1))
def test_words_become_snake_case(words: list[str]) -> None:
    """A capital begins a word."""
    assert snake_case("".join(words)) == "_".join(words).lower()


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Registered", "registered"),
        ("ActivityRecorded", "activity_recorded"),
        ("HTTPRequestSent", "http_request_sent"),
        ("SentHTTP", "sent_http"),
        ("Http2Upgraded", "http2_upgraded"),
        ("X", "x"),
    ],
)
def test_initials_stay_together(name: str, snake: str) -> None:
    """HTTP is one word."""
    assert snake_case(name) == snake


def test_a_lifecycle_is_told_from_another_by_identity() -> None:
    """And cannot be changed once compiled."""
    assert lifecycle() != lifecycle()
    assert hash(ORDER) == hash(ORDER)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ORDER.name = "other"  # type: ignore[misc]  # that is the point
    assert ORDER.next_state("new", New.Placed) == "open"
    assert ORDER.next_state("open", Packed()) == "open"


def test_an_event_type_is_told_from_another_by_identity() -> None:
    """Two lifecycles may have the same event class, and mean different things."""
    (one, *_), (other, *_) = lifecycle().events, lifecycle().events
    assert attrs.asdict(one) == attrs.asdict(other)
    assert one != other


def test_what_a_lifecycle_takes() -> None:
    """Its name, and everything else by keyword; what is compiled cannot be given."""
    parameters = inspect.signature(Lifecycle).parameters.values()
    keywords = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    given = lifecycle()
    assert [one.name for one in parameters if one.name not in keywords] == ["name"]
    assert [name for name, default in keywords.items() if default is inspect.Parameter.empty] == [
        *("states", "transitions", "final"),
    ]
    assert keywords.keys() - {"states", "transitions", "final"} == {
        *("initial", "versions", "upcasters", "abandon", "resume", "reusable_ids"),
    }
    assert (given.initial, given.reusable_ids) == ("new", False)
    assert (given.abandon, given.resume) == (None, None)


def test_a_lifecycle_is_shown_without_what_follows_from_it() -> None:
    """Its definition, which is long, and its index."""
    assert "fingerprint=" in repr(lifecycle())
    assert not re.search(r"\b(definition|_types)=", repr(lifecycle()))


def test_a_class_may_be_called_as_transitions_would_call_a_trigger() -> None:
    """Only the rows that are written count, none that a `transitions.Machine` adds by itself."""
    to_done = attrs.make_class("to_done", [])
    given = lifecycle(transitions=[*ROWS, [to_done, "open", None]])
    assert [edge for edge in given.rows() if edge[0] == "job.to_done"] == [
        ("job.to_done", "open", "open")
    ]


def test_a_lifecycle_that_observes_has_one_state_and_one_event() -> None:
    """It begins and goes on with the same event, and where it ends is not for a table to say."""
    order = Lifecycle.observed("order")
    assert (order.states, order.final) == (("observed",), frozenset())
    assert order.rows() == [
        ("order.observed", "new", "observed"),
        ("order.observed", "observed", "observed"),
    ]
    assert [kind.fields for kind in order.events] == [
        ("kind", "trigger", "source", "dest", "error")
    ]
    assert order.fingerprint == Lifecycle.observed("order").fingerprint
    assert order.evolve("new", Observed("attached", "", None, "A")) == "observed"


def test_the_name_of_an_observing_lifecycle_is_a_name() -> None:
    """As any lifecycle's."""
    with pytest.raises(InvalidLifecycle, match="'My order' is not a lower-case identifier"):
        Lifecycle.observed("My order")
