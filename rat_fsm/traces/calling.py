"""Writes a trace down as the calls of a state machine test, as Hypothesis prints a failing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.runtime.escaping import escape
from rat_fsm.traces.literals import Code, literal
from rat_fsm.traces.naming import Names
from rat_fsm.traces.rules import ILLEGAL, INVARIANT, machine_name, rule_names
from rat_fsm.traces.trace import tell
from rat_fsm.traces.writing import INDENT, name_event, name_lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rat_fsm.traces.trace import Trace

_VARIABLE: Final = "state"


def write_calls(
    trace: Trace, about: Sequence[str] = (), *, lifecycle: str = "", machine: str = ""
) -> str:
    """The source of a test file that takes a state machine test along a trace.

    The machine is the one that `rat_fsm.testing.lifecycle_machine` makes of the trace's lifecycle,
    which drives a log, or one of your own, which drives your system.

    Args:
        trace: the events.
        about: lines for the head of the file, such as where the events come from.
        lifecycle: the ``module:NAME`` of the trace's lifecycle, where it is none of rat_fsm.
        machine: the ``module:NAME`` of a machine of your own.

    Raises:
        InvalidArgument: an event, its class or the lifecycle cannot be written down, or the
            machine is none of the lifecycle's.
    """
    names = Names(_VARIABLE)
    if machine:
        name, made = names.use_machine(trace, machine), []
    else:
        name, made = machine_name(trace.lifecycle), _machine(names, trace, lifecycle)
    calls = list(_calls(names, trace, name))
    head = (f"# {escape(line)}".rstrip() for line in about)
    lines = [
        f'"""A stream of the lifecycle {trace.lifecycle.name}, in the calls of its machine."""',
        *("", *head, *[""] * bool(about)),
        *(*names.imports(), *made),
        *("", "", "def test_it_goes_the_way_it_went() -> None:"),
        f'{INDENT}"""Each event leads where it led, and what is illegal is refused."""',
        *calls,
    ]
    return "\n".join(lines) + "\n"


def _machine(names: Names, trace: Trace, lifecycle: str) -> list[str]:
    """The lines that make the machine."""
    name = names.reserve(machine_name(trace.lifecycle))
    function = names.use("rat_fsm.testing", "lifecycle_machine")
    return ["", f"{name} = {function}({name_lifecycle(names, trace, lifecycle)})"]


def _calls(names: Names, trace: Trace, machine: str) -> Iterator[str]:
    """What Hypothesis prints of such a run: every rule, and the invariant before and after it."""
    yield f"{INDENT}{_VARIABLE} = {machine}()"
    check = f"{INDENT}{_VARIABLE}.{INVARIANT}()"
    yield check
    state, rules = trace.lifecycle.initial, rule_names(trace.lifecycle)
    for (_, event), after in zip(trace.events, tell(trace).states, strict=True):
        tag = trace.lifecycle.tag_of(event)
        if trace.lifecycle.event_type(type(event)) is None:
            yield f"{INDENT}# Here came an event that is not known: {literal(event.tag).flat()}"
        else:
            yield from _call(names, trace, rules.get((tag, state), ILLEGAL), event)
            yield check
        state = after
    yield f"{INDENT}{_VARIABLE}.teardown()"


def _call(names: Names, trace: Trace, rule: str, event: Any) -> Iterator[str]:
    made = name_event(names, trace.lifecycle, event)
    return Code(f"{_VARIABLE}.{rule}(", (("event=", made),), ")").lines(INDENT)
