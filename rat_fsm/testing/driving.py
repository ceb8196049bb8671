"""The state machine that takes a system along a lifecycle's table; `lifecycle_machine` fills it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import hypothesis
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rat_fsm.errors import Refused
from rat_fsm.log import EventLog
from rat_fsm.testing.auditing import Auditor, require
from rat_fsm.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.table import Lifecycle

    Model = Callable[[EventLog, str], "System"]

STREAM_ID: Final = "a"


class System(Protocol):
    """What a machine drives: something of yours that follows a lifecycle.

    ::

        from rat_fsm import CONNECTION, ConnectionManager
        from rat_fsm.events import Registered
        from rat_fsm.testing import lifecycle_machine

        class Server:
            def __init__(self, log, stream_id):
                self.manager, self.id = ConnectionManager(log=log), stream_id

            @property
            def state(self):
                known = self.manager.connections.get(self.id)
                return "new" if known is None else known.state.value

            def apply(self, event):
                if isinstance(event, Registered):
                    self.manager.register_connection(self.id, event.remote_addr)
                ...

        ServerMachine = lifecycle_machine(CONNECTION, Server)
    """

    @property
    def state(self) -> str:
        """Where it says that its stream is; the lifecycle's initial state before it begins."""

    def apply(self, event: Any) -> object:
        """Asks it for what leads to this event, or raises what it refuses with.

        What it answers does not matter, only what it records and where it is afterwards.
        """


class Appending:
    """A log, driven as the simplest system: it appends what it is asked for."""

    def __init__(self, lifecycle: Lifecycle, log: EventLog, stream_id: str) -> None:
        self._lifecycle = lifecycle
        self._log = log
        self._id = stream_id

    @property
    def state(self) -> str:
        """As the live read model has it."""
        record = self._log.read_model.record(self._lifecycle.name, self._id)
        return self._lifecycle.initial if record is None else record.state

    def apply(self, event: Any) -> None:
        """Appends it."""
        self._log.append((self._lifecycle, self._id), event)


class LifecycleMachine(RuleBasedStateMachine):
    """What `lifecycle_machine` builds on; subclass what that answers with, not this.

    ::

        from hypothesis import strategies as st
        from hypothesis.stateful import rule
        from rat_fsm import CONNECTION
        from rat_fsm.testing import lifecycle_machine

        class ConnectionMachine(lifecycle_machine(CONNECTION)):
            @rule(seconds=st.integers(1, 60))
            def time_passes(self, seconds):
                self.clock.advance(seconds)

    Attributes:
        lifecycle: whose edges its rules are.
        model: what makes the system; None where the log itself is driven.
        refusals: the errors by which the system refuses.
        clock: a `VirtualClock`; a rule of your own may advance it.
        log: the log of this run, in memory, on that clock.
        system: what the model made.
        taken: the rules that led along an edge, and how often.
    """

    lifecycle: ClassVar[Lifecycle]
    model: ClassVar[Model | None] = None
    refusals: ClassVar[tuple[type[Exception], ...]] = (Refused,)
    _illegal: ClassVar[Mapping[str, st.SearchStrategy[Any]]]

    def __init_subclass__(cls) -> None:
        """Leaves the phase `explain` out: it traces every line, which takes ten times as long."""
        case = cls.TestCase
        phases = [phase for phase in case.settings.phases if phase is not Phase.explain]
        case.settings = settings(case.settings, phases=phases)

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.log = self.open_log()
        self.system = self._make()
        self.taken: Counter[str] = Counter()
        self._auditor = Auditor(self.log, self.lifecycle, STREAM_ID)
        self._expected = self.lifecycle.initial

    def _make(self) -> System:
        model = type(self).model
        if model is None:
            return Appending(self.lifecycle, self.log, STREAM_ID)
        return model(self.log, STREAM_ID)

    def open_log(self) -> EventLog:
        """The log of one run; override it where the system needs one with more in it."""
        return EventLog(lifecycles=(self.lifecycle,), clock=self.clock)

    def accepts(self, event: Any) -> bool:  # noqa: ARG002 - overriding ones look at it
        """Whether the system must take a legal event where it stands; override it where not all."""
        return True

    @property
    def state(self) -> str:
        """Where the system says it is."""
        return self.system.state

    def take(self, name: str, event: Any, source: str, dest: str) -> None:
        """The body of each edge's rule."""
        require(self.state == source, f"{name}: it is {self.state!r} and not {source!r}")
        must = self.accepts(event)
        try:
            self.system.apply(event)
        except self.refusals as problem:
            if must:
                raise AssertionError(f"{name}: legal from {source!r}, but refused") from problem
            self._require_nothing(event)
            return
        recorded = self._auditor.catch_up()
        if must or recorded or self.state != source:
            self._require_recorded(name, event, recorded)
            self._expected = dest
            self.taken[name] += 1

    def _require_recorded(self, name: str, event: Any, recorded: list[Any]) -> None:
        """What was taken is in the log, unless the system keeps none."""
        tags = sorted({self.lifecycle.tag_of(one) for one in recorded})
        said = f"{name}: not recorded; what was: {', '.join(tags) or 'nothing'}"
        known = any(type(one) is type(event) for one in recorded)
        require(known or not self._auditor.known, said)

    def _require_nothing(self, event: Any) -> None:
        """What was refused left nothing in the log."""
        recorded = self._auditor.catch_up()
        require(not recorded, f"it refused {event!r}, but recorded {recorded}")

    def refuse(self, event: Any) -> None:
        """The body of the rule for what is illegal: it is refused, or nothing illegal comes of it.

        A system may do first what makes it legal, such as to activate what is active; or ignore it.
        """
        before = self.state
        try:
            self.system.apply(event)
        except self.refusals:
            self._require_nothing(event)
        recorded = self._auditor.catch_up()
        said = f"{self.lifecycle.tag_of(event)} is illegal from {before!r}"
        require(recorded or self.state == before, f"{said}, but led to {self.state!r}")

    def _has_illegal(self) -> bool:
        return self.state in self._illegal

    @precondition(_has_illegal)
    @rule(event=st.runner().flatmap(lambda machine: machine._illegal[machine.state]))  # noqa: SLF001 - its own
    def illegal_event(self, event: Any) -> None:
        """What the table has no way for."""
        self.refuse(event)

    @invariant()
    def agrees_with_its_log(self) -> None:
        """The log is sound, its live read model is its replay, and the system stands where it says.

        Sound: every event legal, versions without holes, nothing after a final state.
        """
        self._auditor.catch_up()
        self._auditor.compare()
        possible = self._auditor.states() if self._auditor.known else {self._expected}
        says = " or ".join(sorted(map(repr, possible)))
        require(self.state in possible, f"the system is {self.state!r}, and should be {says}")

    def teardown(self) -> None:
        """Closes the log; whoever overrides it calls this too."""
        if hypothesis.currently_in_test_context():
            hypothesis.target(len(self.taken), label=f"edges taken by {type(self).__name__}")
            for name in self.taken:
                hypothesis.event(name)
        self.log.close()
