"""The house rules that no type checker sees: purity, layers, a light front door, docstrings."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import rat_fsm

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(rat_fsm.__file__).parent
PROJECT: Final = Path(__file__).parent.parent
MODULES: Final = sorted(PACKAGE.rglob("*.py"))

PURE: Final = sorted(
    [
        *(PACKAGE / f"{name}.py" for name in ("errors", "events", "table", "lifecycles", "core")),
        PACKAGE / "policy.py",
        *PACKAGE.glob("classification.py"),
        *PACKAGE.glob("projections/*.py"),
        *PACKAGE.glob("monitors/*.py"),
    ]
)
# datetime is here for its types; the calls that read the clock are refused below.
PURE_LIBRARIES: Final = frozenset(
    {
        *("__future__", "abc", "attrs", "collections", "collections.abc", "datetime", "enum"),
        *("functools", "hashlib", "itertools", "json", "math", "msgspec", "operator", "re"),
        *("transitions", "types", "typing"),
    }
)
CLOCK_CALLS: Final = frozenset({"now", "today", "utcnow"})
IMPURE_BUILTINS: Final = frozenset(
    {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}
)
EXTRAS: Final = frozenset(
    {
        "aiohttp",
        "click",
        "cryptography",
        "graphviz",
        "hypothesis",
        "psycopg",
        "pyarrow",
        "rich",
        "starlette",
        "uvicorn",
        "websockets",
    }
)


def module_name(path: Path) -> str:
    """The dotted name a file of the package is imported by."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PURE_MODULES: Final = frozenset(map(module_name, PURE))


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that one statement imports; ``from rat_fsm import events`` is rat_fsm.events."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            if module == "rat_fsm":
                yield from (f"rat_fsm.{alias.name}" for alias in names)
            else:
                yield module
        case ast.ImportFrom(level=level, module=module):
            yield "." * level + (module or "")


def reads_clock(node: ast.AST) -> bool:
    """Whether this is ``x.now()`` of any x, or ``datetime.now`` handed on uncalled.

    ``request.now`` alone is a time that was handed in.
    """
    match node:
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in CLOCK_CALLS
        case ast.Attribute(attr=name, value=ast.Name(id=owner) | ast.Attribute(attr=owner)):
            return name in CLOCK_CALLS and owner in {"date", "datetime"}
    return False


def impurities(source: str) -> set[str]:
    """What a pure module must not hold: foreign imports, clock readings, input and output."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        found.update(name for name in imported(node) if name not in PURE_LIBRARIES | PURE_MODULES)
        if reads_clock(node):
            found.add("a clock")
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in IMPURE_BUILTINS:
                found.add(name)
    return found


@pytest.mark.parametrize("path", PURE, ids=module_name)
def test_the_core_is_pure(path: Path) -> None:
    """Words, machine and reading import nothing that could differ between a run and its replay."""
    assert impurities(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", {"time"}),
        ("def f():\n    from os import environ", {"os"}),
        ("import logging.handlers as json", {"logging.handlers"}),
        ("from rat_fsm import log, events", {"rat_fsm.log"}),
        ("from rat_fsm.runtime.clock import Clock", {"rat_fsm.runtime.clock"}),
        ("from . import events", {"."}),
        ("datetime.datetime.now(datetime.UTC)", {"a clock"}),
        ("clock.now()", {"a clock"}),
        ("attrs.field(factory=datetime.utcnow)", {"a clock"}),
        ("open('x')", {"open"}),
        ("map(eval, lines)", {"eval"}),
        (
            "import datetime, msgspec\nfrom rat_fsm.events import EPOCH\nrequest.now\nopen: int",
            set(),
        ),
    ],
)
def test_the_purity_check_sees(source: str, found: set[str]) -> None:
    """Each way out of the pure core is found, and a time handed in as a value is none."""
    assert impurities(source) == found


def test_the_front_door_is_light() -> None:
    """Importing rat_fsm imports no optional dependency."""
    script = "import json, sys, rat_fsm; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    modules = set(json.loads(result.stdout))
    assert "rat_fsm" in modules
    assert modules & EXTRAS == set()


def public_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: the order ruff keeps (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_the_public_names_are_sorted_and_exist() -> None:
    """The front door's list is in order, without duplicates, and every name on it resolves."""
    names = list(rat_fsm.__all__)
    assert names == sorted(set(names), key=public_order)
    assert [name for name in names if not hasattr(rat_fsm, name)] == []


def test_imports_go_down() -> None:
    """The layers in pyproject.toml hold."""
    script = "from importlinter.cli import lint_imports_command as main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "--no-cache", "--no-logo"],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_say_why_they_exist(path: Path) -> None:
    """Every module opens with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
