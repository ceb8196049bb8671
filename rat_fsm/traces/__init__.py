"""A stream out of a production log, made small, made harmless and written down as a test."""

from rat_fsm.traces.calling import write_calls
from rat_fsm.traces.expressions import expression
from rat_fsm.traces.reading import trace_of
from rat_fsm.traces.redaction import KINDS, OURS, redact
from rat_fsm.traces.shrinking import LIMIT, Shrunk, shrink
from rat_fsm.traces.trace import Origin, Told, Trace, tell
from rat_fsm.traces.writing import write_test

__all__ = [
    "KINDS",
    "LIMIT",
    "OURS",
    "Origin",
    "Shrunk",
    "Told",
    "Trace",
    "expression",
    "redact",
    "shrink",
    "tell",
    "trace_of",
    "write_calls",
    "write_test",
]
