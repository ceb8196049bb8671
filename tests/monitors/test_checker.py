"""Some monitors together: what they share, what they cost, and what they do with bad input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm import monitors
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import (
    Activated,
    Closed,
    Closing,
    MonitorViolated,
    Registered,
    Serving,
    Started,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.monitors import (
    Cause,
    Checker,
    Step,
    always,
    eventually,
    leads_to,
    never_after,
)
from tests.histories import Recorder
from tests.monitors.told import Seen, found, told
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Callable

made: Final[Any] = monitors  # for what no type checker would let pass

PLACED = New.Placed("book", 1200, "EUR")
ENDING = (Closing("normal", "client", "streaming"), Closed("normal", 0, 0, 0, 0, 1.0))


def test_one_that_raises_hurts_no_other() -> None:
    """It is told once and asked no more; what it was waiting for is not known."""
    asked: list[str] = []

    def broken(step: Step) -> bool:
        asked.append(step.recorded.type)
        return bool(step.event.note)

    checker = Checker(
        [eventually(broken, of=ORDER, within=1), never_after(Packed, Packed, of=ORDER)], limit=1
    )
    events = told(
        (0, "order/o1", PLACED),
        *((1, "order/o1", Packed()), (2, "order/o1", Packed()), (9, "order/o1", Noted(1))),
    )
    answers = [[one.monitor for one in checker.fold(recorded)] for recorded in events]
    verdict = checker.verdict()
    assert (asked, answers) == (["order.placed"], [[], [], ["never_after(Packed, Packed)"], []])
    assert [(one.monitor, one.at, type(one.error)) for one in checker.failures] == [
        ("eventually(broken, within=1)", events[0], AttributeError)
    ]
    assert (verdict.failures, verdict.open, verdict.holds) == (checker.failures, (), False)
    alone = eventually(broken, of=ORDER).check(events)
    assert (alone.holds, alone.violations) == (False, ())


def test_how_many_are_kept() -> None:
    """The first are, all are counted; those that are due at the end are counted, too."""
    checker = Checker([eventually(Done, of=ORDER, within=1)], limit=2)
    for number in range(4):
        for recorded in told((2 * number, f"order/o{number}", PLACED)):
            checker.fold(
                attrs.evolve(recorded, stream=attrs.evolve(recorded.stream, born=f"w0:{number}"))
            )
    checker.pass_time("w0", 0)
    verdict = checker.verdict()
    assert len(verdict.violations) == 2
    assert (verdict.counts, len(verdict.open)) == ({"eventually(Done, within=1)": 3}, 1)
    assert checker.verdict() == verdict


def test_what_live_monitors_said_is_not_looked_at() -> None:
    """A violation causes no other, however a monitor was meant."""
    said = MonitorViolated("m", "event", "order", "o1", "w0:1", 1, 1, 7)
    events = told((0, "node/n1", Serving()), (1, "node/n1", said), (2, "node/n1", Serving()))
    verdict = always(lambda step: not isinstance(step.event, MonitorViolated)).check(events)
    assert (verdict.holds, verdict.events) == (True, 3)


def test_the_passing_of_time() -> None:
    """What nobody recorded may be told: then deadlines pass, at that time and not before."""
    checker = Checker([eventually(Done, of=ORDER, within=2), leads_to(New.Placed, Done, of=ORDER)])
    (recorded,) = told((0, "order/o1", PLACED))
    checker.fold(recorded)
    assert checker.next_deadline == recorded.micros + 2_000_000
    assert checker.pass_time("w0", recorded.micros + 1_999_999) == []
    assert checker.pass_time("w1", recorded.micros + 2_000_000) == []
    (violation,) = checker.pass_time("w0", recorded.micros + 2_000_000)
    assert (violation.cause, violation.by) == (Cause.DEADLINE, None)
    verdict = checker.verdict()
    assert (verdict.violations, sum(verdict.counts.values())) == ((violation,), 1)
    assert not list(filter(None, [checker.next_deadline]))
    assert str(violation) == (
        "eventually(Done, within=2) of order/o1: nothing followed in time at "
        "2026-09-21T14:13:22+00:00, since order.placed w0:1"
    )


def test_violations_in_words() -> None:
    """Which monitor, of which stream, how, when, and since when."""
    events = told((0, "order/o1", PLACED), (1, "order/o1", Done()))
    (broken,) = never_after(New.Placed, Done, of=ORDER).check(events).violations
    assert str(broken) == (
        "never_after(Placed, Done) of order/o1: violated at 2026-09-21T14:13:21+00:00 "
        "by order.done w0:2, since order.placed w0:1"
    )
    (ended,) = eventually(Packed, of=ORDER).check(events).violations
    assert ": nothing followed before the end at " in str(ended)


def test_memory_is_bounded_by_open_streams() -> None:
    """However many streams there were, what has ended is forgotten."""
    checker = Checker(
        [
            always(lambda _: False, name="never"),
            eventually(Activated, within=900),
            leads_to(Registered, Activated, within=900),
            never_after(Registered, Closed),
        ],
        limit=0,
    )
    recorder = Recorder()
    for number in range(50):
        stream = f"connection/c{number}"
        for event in (Registered("a"), Activated(), *ENDING):
            (recorded,) = told((number, stream, event), recorder=recorder)
            checker.fold(recorded)
    held: list[Any] = [
        *(vars(following)["_cells"] for following in checker._following),
        *(queue for one in checker._following for queue in vars(one)["_queues"].values()),
        *(checker._steps._states, checker._violations),
    ]
    assert [len(one) for one in held] == [0] * len(held)
    assert checker.verdict().counts["never"] == 50


def test_streams_are_followed_through_the_tables_of_their_writers() -> None:
    """The definition that a run recorded counts, whatever the program's own says today."""
    recorder = Recorder()
    events = told(
        (0, "node/n1", Started([dict(OLD_ORDER.definition)], {})),
        *((0, "order/o1", PLACED), (1, "order/o1", Packed())),
        *((2, "w1:order/o1", PLACED), (3, "w1:order/o1", Packed())),
        recorder=recorder,
    )
    seen = Seen()
    always(seen, of=ORDER).check(events)
    assert [(step.recorded.writer, step.state) for step in seen.steps] == [
        ("w0", "open"),
        ("w0", "packed"),
        ("w1", "open"),
        ("w1", "open"),
    ]


def test_a_stream_is_new_before_its_first_event() -> None:
    """As its lifecycle's `initial` says, and in the state before from then on."""
    seen = Seen()
    events = told((0, "connection/c1", Registered("a")), (1, "connection/c1", Activated()))
    always(seen).check(events)
    assert [(s.before, s.state) for s in seen.steps] == [
        *(("new", "connecting"), ("connecting", "active")),
    ]


def test_a_lifecycle_that_nobody_defines() -> None:
    """Its events are judged, its state is not known."""
    events = told((0, "order/o1", PLACED), (1, "order/o1", Done()))
    seen = Seen()
    assert always(seen).check(events).holds
    assert [(s.before, s.state, s.ended) for s in seen.steps] == [("?", "?", False)] * 2


def test_where_a_stream_stands_may_be_told() -> None:
    """So that one can begin in the middle."""
    seen = Seen()
    checker = Checker([always(seen)])
    _, second = told((0, "connection/c1", Registered("a")), (1, "connection/c1", Activated()))
    checker.begin(second.stream.born, "connecting")
    checker.fold(second)
    assert [step.before for step in seen.steps] == ["connecting"]


@pytest.mark.parametrize(
    ("declare", "error", "told_so"),
    [
        (
            lambda: made.always(3),
            InvalidArgumentType,
            "an event class, a union of them or a function",
        ),
        (lambda: made.leads_to(None, Done), InvalidArgumentType, "not NoneType"),
        (lambda: made.eventually(Done, within=-1), InvalidArgument, "within is -1 seconds"),
        (lambda: made.eventually(Done, within=float("nan")), InvalidArgument, "within is nan"),
        (lambda: made.eventually(Done, within="1"), InvalidArgumentType, "seconds, not str"),
        (lambda: made.eventually(Done, within=True), InvalidArgumentType, "seconds, not bool"),
        (
            lambda: made.always(Done, of=Done),
            InvalidArgumentType,
            "a Lifecycle or its name, not type",
        ),
        (lambda: made.always(Done, scope="node"), InvalidArgument, "use one of stream, run, log"),
        (lambda: made.always(Done, name=3), InvalidArgumentType, "name must be a string, not int"),
        (lambda: made.Checker([Done]), InvalidArgumentType, "is no monitor; make one with always,"),
        (
            lambda: made.Checker([made.always(Done)] * 2),
            InvalidArgument,
            "two monitors are called 'always",
        ),
        (
            lambda: made.Checker([made.never_after(Registered, Noted)]),
            InvalidArgument,
            "no lifecycle here has events of the class Noted, only connection, node are known",
        ),
        (
            lambda: made.Checker([]).fold(Done()),
            InvalidArgumentType,
            "is no recorded event; read_e",
        ),
    ],
)
def test_what_is_refused(
    declare: Callable[[], object], error: type[Exception], told_so: str
) -> None:
    """At once, saying what would be right."""
    with pytest.raises(error, match=re.escape(told_so)):
        declare()


def test_names() -> None:
    """A monitor is called after its predicates unless it is given a name."""

    class Quiet:
        def __call__(self, _step: Step) -> bool:
            return True

    assert [
        monitor.name
        for monitor in (
            *(always(lambda _: True), always(Quiet()), eventually(Done | Packed, within=0.5)),
            *(leads_to(Noted, test_names), never_after(Done, Done, name="once")),  # type: ignore[arg-type]
        )
    ] == [
        *("always(lambda)", "always(Quiet)", "eventually(Done | Packed, within=0.5)"),
        *("leads_to(Noted, test_names)", "once"),
    ]


def test_events_that_are_not_known() -> None:
    """Their class may be named as any other."""
    unknown = UnknownEvent("connection.novelty", 2, {}, "unknown tag")
    events = told((0, "connection/c1", Registered("a")), (1, "connection/c1", unknown))
    assert found(never_after(Registered, UnknownEvent, of=CONNECTION).check(events)) == [
        ("event", "c1", 1, 2, 1.0)
    ]
