"""Every error rat_fsm raises, in one tree.

Each class also derives from the built-in error that a caller would naturally catch, and carries
the facts of its message as attributes.

RatFsmError
├── InvalidArgument (ValueError)        a value no call could accept
├── InvalidArgumentType (TypeError)     a value of the wrong type
├── InvalidLifecycle (ValueError)       a lifecycle that does not compile
├── Refused (RuntimeError)              a decision said no; nothing was accepted
│   ├── IllegalEvent                    the table has no way for this event from this state
│   └── WrongExpectedVersion            the stream is not where the caller thought
├── StreamClosed (OSError)              the server has ended this stream; stop sending
├── MissingExtra (ImportError)          an optional dependency is not installed
├── Unproven (ValueError)               a signature or a proof does not hold
├── Deadlock (RuntimeError)             nothing on an event loop in virtual time can go on
└── LogError
    ├── LogClosed (ValueError)          the log was closed
    ├── LogForked (RuntimeError)        the log belongs to the parent process
    ├── LogUnavailable (OSError)        the store cannot take more now
    │   └── OutcomeUnknown              a commit may or may not have happened
    ├── FlushTimeout (TimeoutError)     not durable within the time given
    ├── WriterBusy (RuntimeError)       another process holds this writer's slot
    ├── WriterFenced (RuntimeError)     somebody else appended to this writer's chain
    ├── LogsDiverged (ValueError)       a log is no earlier copy of another
    ├── FoldFailed (RuntimeError)       a projection's code has raised, and it follows no more
    ├── HistoryEvicted (LookupError)    evicted from memory or pruned: the log no longer holds it
    ├── StreamNotFound (LookupError)    no stream of the log has this id
    ├── StoreUnreadable (OSError)       no such log, or no permission, or not a log
    ├── UnsupportedFormat (ValueError)  written by a newer rat_fsm
    └── DamagedFrame (ValueError)       a frame contradicts its header, its hash or its chain
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class RatFsmError(Exception):
    """The root: catches everything that rat_fsm raises on purpose."""


class InvalidArgument(RatFsmError, ValueError):
    """A value that no call could accept, such as a negative byte count."""


class InvalidArgumentType(RatFsmError, TypeError):
    """A value of the wrong type."""


class InvalidLifecycle(RatFsmError, ValueError):
    """A lifecycle definition that does not compile."""


class Refused(RatFsmError, RuntimeError):
    """A decision said no and nothing was accepted.

    Attributes:
        cause: a slug that programs can compare, such as ``max_connections``.
    """

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class IllegalEvent(Refused):
    """The lifecycle's table has no way for this event from this state.

    Attributes:
        stream: what was addressed, ``lifecycle/id``.
        state: the state the stream was in.
        event: the tag of the event that was refused.
        legal: the tags that would have been accepted, sorted.
    """

    def __init__(self, stream: str, state: str, event: str, legal: Sequence[str]) -> None:
        expected = ", ".join(legal) or "nothing: the state is final"
        super().__init__(
            f"{stream} is {state!r} and cannot take {event}; legal now: {expected}",
            cause="illegal_event",
        )
        self.stream = stream
        self.state = state
        self.event = event
        self.legal = tuple(legal)


class WrongExpectedVersion(Refused):
    """The stream is not at the version the caller had read.

    Attributes:
        stream: what was addressed, ``lifecycle/id``.
        expected: the version the caller named.
        actual: the version the stream is at.
    """

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(
            f"{stream} is at version {actual}, not at the expected {expected}; read it again",
            cause="wrong_expected_version",
        )
        self.stream = stream
        self.expected = expected
        self.actual = actual


class StreamClosed(RatFsmError, OSError):
    """The server has ended this stream, such as for a restart: what sends into it should stop.

    Raised where a server raises for a client that has gone, so that the same code handles both.
    """


class MissingExtra(RatFsmError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: the name to install, as in ``pip install 'rat-fsm[cli]'``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'rat-fsm[{extra}]'")
        self.extra = extra


class Unproven(RatFsmError, ValueError):
    """A signature, or a proof about a log, does not hold: believe nothing of what it was for."""


class Deadlock(RatFsmError, RuntimeError):
    """On an event loop in virtual time everything waits for ever, or goes round for ever.

    Attributes:
        waiting: for each task of the loop, its name and the line where it waits.
    """

    def __init__(self, why: str, waiting: Sequence[str]) -> None:
        super().__init__("\n  ".join([why, *waiting]))
        self.waiting = tuple(waiting)


class LogError(RatFsmError):
    """Something about an event log."""


class LogClosed(LogError, ValueError):
    """The log was closed; open it again."""


class LogForked(LogError, RuntimeError):
    """The log belongs to the parent process; a forked child opens its own."""


class LogUnavailable(LogError, OSError):
    """The store cannot take more now; what was accepted before is still pending."""


class OutcomeUnknown(LogUnavailable):
    """A commit failed and its store cannot be asked yet: the frame may or may not be there."""


class FlushTimeout(LogError, TimeoutError):
    """What was accepted did not become durable within the time given; it is still pending."""


class WriterBusy(LogError, RuntimeError):
    """Another process, or another log of this one, holds this writer's slot."""


class WriterFenced(LogError, RuntimeError):
    """A frame does not continue its writer's chain: somebody else appended to it."""


class LogsDiverged(LogError, ValueError):
    """A log is no earlier copy of what is copied into it.

    Attributes:
        position: the first frame at which the two differ.
    """

    def __init__(self, problem: str, *, position: int) -> None:
        super().__init__(problem)
        self.position = position


class FoldFailed(LogError, RuntimeError):
    """A projection's own code has raised, the cause of this; it follows its log no more."""


class HistoryEvicted(LogError, LookupError):
    """The frames that were asked for were evicted from a log in memory, or pruned."""


class StreamNotFound(LogError, LookupError):
    """No stream of a log has this id.

    Attributes:
        id: what was asked for.
        near: ids of the log that look like it, the likeliest first.
    """

    def __init__(self, log: str, id: str, near: Sequence[str] = ()) -> None:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"{log} has never heard of {id}{hint}")
        self.id = id
        self.near = tuple(near)


class StoreUnreadable(LogError, OSError):
    """There is no log at this address, or it may not be read, or it is something else."""


class UnsupportedFormat(LogError, ValueError):
    """The log was written by a newer rat_fsm; upgrade to read it."""


class DamagedFrame(LogError, ValueError):
    """A frame contradicts its header, its hash or its chain.

    Attributes:
        position: the frame's number in the store, or None where it is not known.
    """

    def __init__(self, problem: str, *, position: int | None = None) -> None:
        where = "a frame" if position is None else f"frame {position}"
        super().__init__(f"{where} is damaged: {problem}")
        self.position = position
