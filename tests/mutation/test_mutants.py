"""The mutation check itself: what it changes, what it leaves alone, and that it sees."""

from __future__ import annotations

import ast
import subprocess
import sys
from textwrap import dedent
from typing import Final

import pytest

from tests.mutation.operators import mutants_of
from tests.mutation.rows import row_mutants
from tests.mutation.running import PROJECT

MODULE: Final = '''
"""A docstring."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: "int" = 3  # ü: columns are bytes
__all__ = ["f"]


@attrs.frozen
class Held:
    """Another."""

    size: int = attrs.field(default=2)

    @property
    def big(self) -> bool:
        return "ü" < self.size and not self.gone


def f(x: "str") -> "int":
    _require(x > LIMIT, f"{x} is wrong")
    if x is None:
        raise ValueError("no")
    self.total += x * 2
    self.seen[x] = True
    return None
'''

TABLE: Final = dedent(
    """
    THING = Lifecycle(
        "thing",
        states=("a", "b"),
        final={"b"},
        transitions=[
            [Begun, "new", "a"],
            [Seen, ["new", "a"], None],
        ],
        reusable_ids=True,
    )
    """
)


def test_what_is_changed_in_a_module() -> None:
    """Literals, defaults, properties and statements; neither words nor annotations."""
    changes = [(one.before, one.after) for one in mutants_of("m.py", MODULE)]
    limit, size = 'LIMIT: "int" = 3  # ü: columns are bytes', "size: int = attrs.field(default=2)"
    both = 'return "ü" < self.size and not self.gone'
    assert changes == [
        (limit, 'LIMIT: "int" = 4  # ü: columns are bytes'),
        (size, "size: int = attrs.field(default=3)"),
        (both, "return None"),
        (both, 'return (("ü" < self.size) or (not self.gone))'),
        (both, 'return "ü" <= self.size and not self.gone'),
        (both, "return 'üX' < self.size and not self.gone"),
        (both, 'return "ü" < self.size and self.gone'),
        ('_require(x > LIMIT, f"{x} is wrong")', "pass"),
        ('_require(x > LIMIT, f"{x} is wrong")', '_require(x >= LIMIT, f"{x} is wrong")'),
        ("if x is None:", "if x is not None:"),
        ("self.total += x * 2", "pass"),
        ("self.total += x * 2", "self.total -= x * 2"),
        ("self.total += x * 2", "self.total += x / 2"),
        ("self.total += x * 2", "self.total += x * 3"),
        ("self.seen[x] = True", "pass"),
        ("self.seen[x] = True", "self.seen[x] = False"),
    ]


def test_what_is_changed_in_a_table() -> None:
    """Each row is left out, comes from elsewhere, and leads everywhere else."""
    found = [ast.literal_eval(_rows(one.source)) for one in row_mutants("m.py", TABLE)]
    begun, seen = ["Begun", "new", "a"], ["Seen", ["new", "a"], None]
    assert found[:-2] == [
        *([seen], [["Begun", ["new", "a"], "a"], seen], [["Begun", ["a"], "a"], seen]),
        *([["Begun", ["new", "b"], "a"], seen], [["Begun", ["b"], "a"], seen]),
        *([["Begun", "new", "b"], seen], [["Begun", "new", None], seen]),
        *([begun], [begun, ["Seen", ["a"], None]], [begun, ["Seen", ["new"], None]]),
        [begun, ["Seen", ["new", "a", "b"], None]],
        *([begun, ["Seen", ["new", "a"], "a"]], [begun, ["Seen", ["new", "a"], "b"]]),
    ]
    assert found[-2:] == [[begun, seen]] * 2
    assert [one.after for one in row_mutants("m.py", TABLE)[-2:]] == [
        "final={'a'},",
        "reusable_ids=False,",
    ]


def _rows(source: str) -> str:
    """The rows of a mutant, with names for classes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "transitions":
            names = ast.unparse(node.value)
            return names.replace("Begun", "'Begun'").replace("Seen", "'Seen'")
    raise AssertionError(source)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run() -> None:
    """Mutants are killed by tests that see them; the module's own file is as it was."""
    file = PROJECT / "rat_fsm" / "projections" / "definitions.py"
    before = file.read_bytes()
    command = [sys.executable, "-m", "tests.mutation", "rat_fsm/projections/definitions.py"]
    result = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "rat_fsm/projections/definitions.py: 9 mutants" in result.stdout
    assert file.read_bytes() == before
