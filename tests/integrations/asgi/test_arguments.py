"""What the constructor refuses, before anything happens."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from rat_fsm import ConnectionManager
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.integrations.asgi import StreamingMiddleware
from tests.integrations.asgi import handlers


@pytest.mark.parametrize(
    "options",
    [
        {"max_per_client": 0, "client_key": str},
        {"max_per_client": 1},
        {"activity_interval": -1.0},
        {"drain_timeout": float("nan")},
        {"drain_timeout": float("inf")},
        {"lame_duck": -0.1},
        {"stall_after": 0},
        {"idle_timeout": 0},
        {"max_lifetime": -1},
        {"heartbeat": 0},
        {"on_drain": "perhaps"},
        {"on_drain": {"/a": "perhaps"}},
        {"admin_auth": "short"},
        {"admin_auth": "ü" * 20},
        {"admin_auth": {"ann": "a" * 15}},
        {"admin_auth": "t" * 16, "admin_path": "rat-fsm"},
        {"admin_auth": {}},
    ],
)
def test_values_that_could_never_be_right(options: dict[str, Any]) -> None:
    """Each is named in a ValueError."""
    _refused(options, InvalidArgument)


@pytest.mark.parametrize(
    "options",
    [
        {"app": "module:app"},
        {"streams": "sse"},
        {"max_per_client": "1", "client_key": str},
        {"max_per_client": 1, "client_key": "host"},
        {"activity_interval": "1"},
        {"drain_timeout": None},
        {"stall_after": True},
        {"idle_timeout": "1"},
        {"on_drain": 1},
        {"exclude": "/health"},
        {"exclude": 1},
        {"exclude": [1]},
        {"admin_auth": 1234567890123456},
        {"admin_auth": {"ann": 1}},
        {"admin_auth": {1: "a" * 20}},
        {"admin_auth": "t" * 16, "admin_path": 1},
        {"manager": "sqlite:///x"},
    ],
)
def test_values_of_the_wrong_type(options: dict[str, Any]) -> None:
    """Each is named in a TypeError."""
    _refused(options, InvalidArgumentType)


def _refused(options: dict[str, Any], error: type[Exception]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(error) as caught:
        StreamingMiddleware(**{"app": handlers.once, **options})
    assert any(name in str(caught.value) for name in _names(options))
    assert signal.getsignal(signal.SIGTERM) is before


def _names(options: dict[str, Any]) -> list[str]:
    return [*options, "token", "actor"]


def test_nothing_happens_yet() -> None:
    """Until the first request nothing is installed, and no thread is started."""
    before = signal.getsignal(signal.SIGTERM)
    manager = ConnectionManager()
    StreamingMiddleware(handlers.once, manager)
    assert signal.getsignal(signal.SIGTERM) is before
    manager.shutdown()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"manager": "sqlite:events.db"}, InvalidArgumentType, "is given as log="),
        ({"log": 17}, InvalidArgumentType, "log must be an EventLog or the URL of one"),
        ({"on_drain": {"answers": "finish"}}, InvalidArgument, "begins with a slash"),
        ({"exclude": ["health"]}, InvalidArgument, "begins with a slash"),
    ],
)
def test_places_and_paths_that_cannot_be(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What would never match, or never record, is refused at once."""
    with pytest.raises(error, match=words):
        StreamingMiddleware(handlers.once, **options)


def test_a_manager_has_its_log() -> None:
    """Both together would leave open which is meant."""
    manager = ConnectionManager()
    with pytest.raises(InvalidArgument, match="not both"):
        StreamingMiddleware(handlers.once, manager, log="memory:")
    manager.shutdown()
