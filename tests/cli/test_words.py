"""What events say in words."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from rat_fsm import events
from rat_fsm.cli.words import describe, label, style_of_event
from rat_fsm.lifecycles import CONNECTION, NODE

if TYPE_CHECKING:
    from rat_fsm.table import EventType

SAMPLES: dict[Any, Any] = {
    str: "x",
    int: 3,
    float: 2.0,
    bool: True,
    float | None: None,
    int | None: None,
}


def sample(cls: Any) -> Any:
    """An event of a class, filled with something of the right type."""
    types = typing.get_type_hints(cls)
    values = {field.name: types[field.name] for field in attrs.fields(cls)}
    return cls(**{name: SAMPLES[t] if t in SAMPLES else t() for name, t in values.items()})


@pytest.mark.parametrize("kind", [*CONNECTION.events, *NODE.events], ids=lambda kind: kind.tag)
def test_every_event_has_words(kind: EventType) -> None:
    """No event of the vocabulary is without words, however little it holds."""
    assert isinstance(describe(sample(kind.cls)), str)
    assert isinstance(style_of_event(sample(kind.cls)), str)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (events.Activated(), ""),
        (events.ActivityRecorded(1500, 1), "+1.5 kB"),
        (events.ActivityRecorded(1500, 2), "+1.5 kB in 2 messages"),
        (events.RetryRefused("exhausted"), "exhausted"),
        (events.Stalled(12.0), "takes nothing for 12.0 s"),
        (events.Unstalled(90.0), "takes data again after 1m 30s"),
        (events.Closing("stale", "timeout", "streaming"), "stale, by timeout, while streaming"),
        (
            events.Closing("client_close", "client", "handshake", 1001),
            "client_close, by client, before the first byte, code 1001",
        ),
        (events.Closed("stale", 0, 0, 0, 0, 0.5), "stale, after 500 ms, 0 B in 0 messages"),
        (events.ConnectionRefused("draining", 2), "2 clients: draining"),
        (events.CallbackFailed("c1", "ValueError: no"), "of c1: ValueError: no"),
        (events.Observed("attached", "", None, "open"), "attached: open"),
        (events.Observed("transition", "pay", "open", "paid"), "pay: open → paid"),
        (events.Observed("transition", "split", "a", ["b", "c"]), 'split: a → ["b","c"]'),
        (events.Observed("internal", "look", "open", "open"), "internal look: open"),
        (events.Observed("forced", "", "paid", "open"), "forced: paid → open"),
        (
            events.Observed("failed", "pay", "open", "open", "KeyError"),
            "failed pay: open, KeyError",
        ),
        (
            events.MonitorViolated("ends", "deadline", "order", "o1", "w0:4", 4, None, 9),
            "ends: order/o1, by deadline",
        ),
        (events.DrainStarted(30.0, 12), "12 open, 30.0 s to end"),
        (events.DrainForced(1), "1 connection left"),
        (events.Stopped({"clean": True}), '{"clean":true}'),
        (events.UnknownEvent("a.b", 1, {"x": 1}, "unknown tag"), '(unknown tag) {"x":1}'),
    ],
)
def test_words(event: object, words: str) -> None:
    """An event is told in a few words."""
    assert describe(event) == words


def test_labels() -> None:
    """Connections are the ordinary case; other lifecycles are named."""
    assert label("connection.closed") == "closed"
    assert label("node.started") == "node.started"
