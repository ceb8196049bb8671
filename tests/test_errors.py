"""The errors: one tree, drawn where they are declared, with the facts of each message."""

from __future__ import annotations

import re

import pytest

from rat_fsm import errors
from rat_fsm.errors import (
    DamagedFrame,
    IllegalEvent,
    MissingExtra,
    RatFsmError,
    Refused,
    WrongExpectedVersion,
)

LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>\w+)(?: \((?P<builtin>\w+)\))?(?:  |$)")


def drawn_tree() -> list[tuple[int, str, str | None]]:
    """Depth, name and built-in base of each class in the module's docstring."""
    lines = (errors.__doc__ or "").splitlines()
    tree = lines[lines.index("RatFsmError") :]
    found = [line for line in map(LINE.match, tree) if line is not None]
    return [(len(line["indent"]) // 4, line["name"], line["builtin"]) for line in found]


def real_tree(cls: type[RatFsmError], depth: int = 0) -> list[tuple[int, str, str | None]]:
    """The same of the classes themselves, in the order of their declaration."""
    builtin = next((b.__name__ for b in cls.__bases__ if b.__module__ == "builtins"), None)
    own = [] if cls is RatFsmError else [(depth, cls.__name__, builtin)]
    below = [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return own + [line for sub in below for line in real_tree(sub, depth + 1)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class stands where it is drawn, with the built-in error that also catches it."""
    assert drawn_tree() == [(0, "RatFsmError", None), *real_tree(RatFsmError)]


def test_an_illegal_event_says_what_was_attempted_where_and_what_was_legal() -> None:
    """The same facts are attributes."""
    error = IllegalEvent("connection/c1", "active", "connection.activated", ["a.x", "a.y"])
    assert str(error) == (
        "connection/c1 is 'active' and cannot take connection.activated; legal now: a.x, a.y"
    )
    facts = (error.stream, error.state, error.event, error.legal, error.cause)
    assert facts == (
        *("connection/c1", "active", "connection.activated"),
        *(("a.x", "a.y"), "illegal_event"),
    )
    assert "nothing: the state is final" in str(IllegalEvent("c/1", "closed", "c.x", ()))


def test_a_wrong_version_names_both() -> None:
    """Whoever reads the stream again knows what to look for."""
    error = WrongExpectedVersion("order/1", 3, 5)
    assert str(error) == "order/1 is at version 5, not at the expected 3; read it again"
    facts = (error.stream, error.expected, error.actual, error.cause)
    assert facts == ("order/1", 3, 5, "wrong_expected_version")


def test_other_errors_carry_their_facts() -> None:
    """A slug, the extra to install, the frame's number."""
    assert Refused("no", cause="draining").cause == "draining"
    missing = MissingExtra("the CLI", "cli")
    assert (str(missing), missing.extra) == (
        "the CLI needs an extra: pip install 'rat-fsm[cli]'",
        "cli",
    )
    damaged = DamagedFrame("its hash differs", position=7)
    assert (str(damaged), damaged.position) == ("frame 7 is damaged: its hash differs", 7)
    assert str(DamagedFrame("it is short")) == "a frame is damaged: it is short"


@pytest.mark.parametrize("name", [name for _, name, _ in drawn_tree()])
def test_every_error_says_what_it_means(name: str) -> None:
    """Its docstring is its entry in the documentation."""
    assert getattr(errors, name).__doc__
