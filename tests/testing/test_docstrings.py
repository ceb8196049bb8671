"""The examples in the docstrings of the testing kit run as they stand."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import pytest

import rat_fsm.testing

EXAMPLE = re.compile(r"^::\n\n(.+?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def examples() -> list[Any]:
    """What stands after ``::`` in the docstring of each public name, and imports what it needs."""
    documented = {
        name: inspect.getdoc(getattr(rat_fsm.testing, name)) or ""
        for name in rat_fsm.testing.__all__
    }
    return [
        pytest.param(textwrap.dedent(code), id=name)
        for name, text in documented.items()
        for code in EXAMPLE.findall(text)
        if " import " in code
    ]


@pytest.mark.slow
@pytest.mark.parametrize("code", examples())
def test_it_runs(code: str) -> None:
    """What it defines as tests that need nothing passes, too."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example", "exec"), names)  # noqa: S102 - it is our own
    for name, value in names.items():
        if name.startswith("test_") and not _wanted(value):
            value()


def _wanted(test: Any) -> list[str]:
    """The fixtures that pytest would have to give it."""
    return list(inspect.signature(test).parameters)
