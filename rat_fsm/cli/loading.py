"""Imports what ``module:NAME`` names: the one way in which code of others enters a command."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from rat_fsm.errors import InvalidArgument
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OURS: Final = {"rat_fsm:CONNECTION": CONNECTION, "rat_fsm:NODE": NODE}


def load(target: str) -> Any:
    """The object that ``module:NAME`` (or ``module:NAME.attribute``) names.

    Modules are looked for in the working directory too. What the module prints while it is
    imported goes to stderr.

    Raises:
        InvalidArgument: the target is not of that form, or whatever its code raises.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise InvalidArgument(f"{target!r} is not of the form module:NAME")
    return _imported(target, module, attribute.split("."))


def _imported(target: str, module: str, path: Iterable[str] = ()) -> Any:
    """The module, or what stands in it at the end of a path of attributes."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found: Any = importlib.import_module(module)
            for name in path:
                found = getattr(found, name)
    except (Exception, SystemExit) as problem:  # whatever the code of others raises
        raise InvalidArgument(
            f"cannot import {target}: {type(problem).__name__}: {problem}"
        ) from problem
    return found


def load_lifecycle(target: str) -> Lifecycle:
    """The lifecycle that ``module:NAME`` names.

    Raises:
        InvalidArgument: it names something else, see also `load`.
    """
    found = load(target)
    if not isinstance(found, Lifecycle):
        raise InvalidArgument(f"{target} is no Lifecycle but of type {type(found).__name__}")
    return found


def lifecycles_in(target: str) -> dict[str, Lifecycle]:
    """The lifecycle that ``module:NAME`` names, or all that a module has, each as module:NAME.

    Those of rat_fsm, which a module may have imported, are left out.

    Raises:
        InvalidArgument: there is none, or what is there is none, see also `load`.
    """
    if ":" in target:
        return {target: load_lifecycle(target)}
    ours = tuple(OURS.values())
    found = {
        f"{target}:{name}": value
        for name, value in vars(_imported(target, target)).items()
        if isinstance(value, Lifecycle) and value not in ours
    }
    if not found:
        raise InvalidArgument(
            f"{target} has no Lifecycle of its own; name a module that has, or MODULE:NAME"
        )
    return found


def _known(_ctx: object, _param: object, targets: Iterable[str]) -> Mapping[str, Lifecycle]:
    """The lifecycles of rat_fsm and of all targets, each as module:NAME, no two of one name.

    Raises:
        InvalidArgument: two that are not the same are called the same, see also `lifecycles_in`.
    """
    known = {lifecycle.name: (where, lifecycle) for where, lifecycle in OURS.items()}
    own: dict[str, tuple[str, Lifecycle]] = {}
    for target in targets:
        for where, lifecycle in lifecycles_in(target).items():
            before, one = own.setdefault(lifecycle.name, (where, lifecycle))
            if one is not lifecycle:
                raise InvalidArgument(
                    f"two lifecycles are called {lifecycle.name}: {before} and {where}; name the "
                    "one that is meant"
                )
    return dict((known | own).values())


LIFECYCLES: Final = click.option(
    "--module",
    "lifecycles",
    multiple=True,
    metavar="MODULE[:NAME]",
    callback=_known,
    help="Read your own lifecycles' events with the classes of this module; may be given again.",
)
