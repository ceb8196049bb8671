"""Writes a trace down as a file that pytest runs: its events, what they came to, and the tests.

What a log says stands in the data only; the tests over it are always the same few lines.
`rat_fsm.traces.calling` writes the other form of test, the calls of a state machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.runtime.escaping import escape
from rat_fsm.traces.expected import WRITER, expected, ours, stream_of
from rat_fsm.traces.literals import Code, construction, literal, row
from rat_fsm.traces.naming import Names
from rat_fsm.traces.trace import START, Trace, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rat_fsm.table import Lifecycle

INDENT: Final = "    "
_OWN: Final = ("START", "STREAM", "STEPS", "RECORDED", "KNOWN", "TOTALS")


def write_test(trace: Trace, about: Sequence[str] = (), *, lifecycle: str = "") -> str:
    """The source of a test file that replays a trace and asserts what it comes to today.

    It replays whatever the trace holds: see `rat_fsm.traces.redact` first.

    Args:
        trace: the events.
        about: lines for the head of the file, such as where the events come from.
        lifecycle: the ``module:NAME`` of the trace's lifecycle, where it is none of rat_fsm.

    Raises:
        InvalidArgument: an event, its class or the lifecycle cannot be written down.
    """
    return "\n".join(_File(trace, lifecycle).lines(about)) + "\n"


def name_lifecycle(names: Names, trace: Trace, target: str) -> str:
    """What the code calls the lifecycle of a trace.

    Raises:
        InvalidArgument: it is none of rat_fsm, and the target does not lead to it.
    """
    name = ours(trace.lifecycle)
    if name is not None:
        return names.use("rat_fsm", name)
    if not target:
        raise InvalidArgument(f"nobody said where {trace.lifecycle.name!r} is defined")
    return names.use_lifecycle(trace, target)


def name_event(names: Names, lifecycle: Lifecycle, event: Any) -> Code:
    """An event as the call that makes it.

    Raises:
        InvalidArgument: it, or its class, cannot be written down.
    """
    name = names.use_class(type(event))
    made = construction(name, event, lifecycle.event_type(type(event)))
    if made.opening.startswith("convert("):
        names.use("msgspec", "convert")
    return made


class _File:
    """The parts of one file; each part says what it imports when it is made."""

    def __init__(self, trace: Trace, target: str) -> None:
        self._trace = trace
        self._names = Names(*_OWN)
        for module, name in (("rat_fsm", "Recorded"), ("rat_fsm", "replay")):
            self._names.use(module, name)
        self._names.use("rat_fsm.events", "Stream")
        self._machine = name_lifecycle(self._names, trace, target)
        self._expected = expected(trace)
        self._told = tell(trace)

    def lines(self, about: Sequence[str]) -> Iterator[str]:
        """The whole file."""
        data = [*self._data()]
        yield f'"""A stream of the lifecycle {self._trace.lifecycle.name}, replayed as recorded."""'
        yield ""
        yield from (f"# {escape(line)}".rstrip() for line in about)
        yield from ("",) * bool(about)
        yield from self._names.imports()
        yield from ("", *data)
        yield from ("", "", *self._test_of_the_table())
        if self._expected.known:
            yield from ("", "", *self._test_of_what_is_known())
        yield from ("", "", *self._test_of_the_totals())

    def _data(self) -> Iterator[str]:
        stream = stream_of(self._trace)
        name = Code("Stream(", tuple(("", literal(x)) for x in _parts(stream)), ")")
        yield f"START = {START}  # microseconds since 1970, some moment or other"
        yield from name.lines("STREAM = ")
        yield "# When (microseconds since the first), what, and the state that it led to."
        yield "STEPS = ["
        for step in self._steps():
            yield from step.lines(INDENT, ",")
        yield "]"
        yield from self._envelopes()
        if self._expected.known:
            yield from _mapping("KNOWN", self._expected.known)
        yield from _mapping("TOTALS", self._expected.totals)

    def _steps(self) -> Iterator[Code]:
        told = self._told
        for (at, event), state, legal in zip(
            self._trace.events, told.states, told.legal, strict=True
        ):
            made = name_event(self._names, self._trace.lifecycle, event)
            yield row(literal(at), made, literal(state if legal else None))

    def _envelopes(self) -> Iterator[str]:
        given = "None", "START + at", "STREAM", "n", f'"{WRITER}"', "n"
        items = *given, f"{self._machine}.tag_of(event)", "event"
        yield "RECORDED = ["
        yield from _call("Recorded", items).lines(INDENT)
        yield f"{INDENT}for n, (at, event, _) in enumerate(STEPS, 1)"
        yield "]"

    def _test_of_the_table(self) -> Iterator[str]:
        yield "def test_each_event_leads_where_it_led() -> None:"
        if all(self._told.legal):
            yield '    """The table has a way for every event, to the recorded state."""'
            yield f"    state = {self._machine}.initial"
            yield "    for _, event, after in STEPS:"
            yield f"        state = {self._machine}.evolve(state, event)"
            yield "        assert state == after"
        else:
            yield '    """Where the state is None, the table has no way: the state is kept."""'
            yield f"    state = {self._machine}.initial"
            yield "    for _, event, after in STEPS:"
            yield f"        assert {self._machine}.next_state(state, event) == after"
            yield "        state = after or state"

    def _test_of_what_is_known(self) -> Iterator[str]:
        rest = len(self._trace.events) - self._expected.upto
        when = "before_its_end" if rest else "in_the_end"
        yield f"def test_what_is_known_{when}() -> None:"
        yield '    """The read model still makes the same of the events."""'
        first = {0: "RECORDED", 1: "RECORDED[:-1]"}
        yield from self._replay(first.get(rest, f"RECORDED[:{self._expected.upto}]"))
        yield f"    known = {self._expected.view.code}"
        yield "    assert {name: getattr(known, name) for name in KNOWN} == KNOWN"

    def _test_of_the_totals(self) -> Iterator[str]:
        yield "def test_what_it_adds_up_to() -> None:"
        yield '    """The statistics count what they counted."""'
        yield from self._replay("RECORDED")
        yield "    stats = model.stats.as_dict()"
        yield "    assert {name: stats[name] for name in TOTALS} == TOTALS"

    def _replay(self, events: str) -> Iterator[str]:
        known = ours(self._trace.lifecycle) is not None
        options = () if known else (f"lifecycles=[{self._machine}]",)
        yield from _call("replay", (events, *options)).lines(f"{INDENT}model = ")


def _parts(stream: Any) -> tuple[str, str, str]:
    return stream.lifecycle, stream.id, stream.born


def _call(name: str, items: Sequence[str]) -> Code:
    """A call in code of our own."""
    return Code(f"{name}(", tuple(("", Code(item)) for item in items), ")")


def _mapping(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A dict with one entry a line, however short it is."""
    yield f"{name} = {{"
    for key, value in values.items():
        yield from literal(value).lines(f"{INDENT}{literal(key).flat()}: ", ",")
    yield "}"
