"""Decides what the classes in written code are called, and writes the imports for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rat_fsm.errors import InvalidArgument
from rat_fsm.traces.literals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.traces.trace import Trace


class Names:
    """The names that one file imports, no two of them alike.

    Args:
        own: the names that the file itself defines.
    """

    def __init__(self, *own: str) -> None:
        self._modules = dict.fromkeys(own, "")

    def reserve(self, name: str) -> str:
        """A name that the file itself defines.

        Raises:
            InvalidArgument: something that it imports is called so.
        """
        return self.use("", name)

    def use(self, module: str, path: str) -> str:
        """What the code calls what stands in a module under a name, which may have dots.

        Raises:
            InvalidArgument: it cannot be imported from there, or is called like something else.
        """
        parts = path.split(".")
        if module == "__main__" or not all(part.isidentifier() for part in parts):
            raise InvalidArgument(f"{module}:{path} cannot be imported by its name")
        if self._modules.setdefault(parts[0], module) != module:
            raise InvalidArgument(f"{parts[0]} is the name of two things: give one another")
        return path

    def use_class(self, cls: type) -> str:
        """What the code calls a class.

        Raises:
            InvalidArgument: no name leads to it, such as where a function defines it.
        """
        name = self.use(cls.__module__, cls.__qualname__)
        if _found(cls.__module__, cls.__qualname__) is not cls:
            raise InvalidArgument(f"{cls.__module__}:{name} is something else than its class")
        return name

    def use_lifecycle(self, trace: Trace, target: str) -> str:
        """What the code calls the lifecycle of a trace, which ``module:NAME`` leads to.

        Raises:
            InvalidArgument: it does not lead there.
        """
        name, found = self._use(target)
        if found is not trace.lifecycle:
            raise InvalidArgument(f"{target} is not the lifecycle {trace.lifecycle.name!r}")
        return name

    def use_machine(self, trace: Trace, target: str) -> str:
        """What the code calls the machine of a trace's lifecycle, which ``module:NAME`` leads to.

        Raises:
            InvalidArgument: it does not lead there.
        """
        name, found = self._use(target)
        if getattr(found, "lifecycle", None) is not trace.lifecycle:
            raise InvalidArgument(f"{target} is no machine of {trace.lifecycle.name!r}")
        return name

    def _use(self, target: str) -> tuple[str, Any]:
        """What the code calls what ``module:NAME`` leads to, and that."""
        module, _, path = target.partition(":")
        return self.use(module, path), _found(module, path)

    def imports(self) -> Iterator[str]:
        """The lines that import them all."""
        names: dict[str, list[str]] = {}
        for name, module in self._modules.items():
            names.setdefault(module, []).append(name)
        for module in sorted(names.keys() - {""}):
            wanted = sorted(names[module], key=_order)
            line = f"from {module} import {', '.join(wanted)}"
            if len(line) <= WIDTH:
                yield line
            else:
                yield from (f"from {module} import (", *(f"    {n}," for n in wanted), ")")


def _found(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: the order that sorters of imports keep."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name
