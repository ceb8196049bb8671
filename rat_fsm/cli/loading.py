"""Imports what ``module:NAME`` names: the one way in which code of others enters a command."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

from rat_fsm.errors import InvalidArgument
from rat_fsm.table import Lifecycle


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
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):
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
