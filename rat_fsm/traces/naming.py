"""Decides what the classes in written code are called, and writes the imports for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.traces.literals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.traces.trace import Trace

_OWN: Final = ("START", "STREAM", "STEPS", "RECORDED", "KNOWN", "TOTALS")


class Names:
    """The names that one file imports, no two of them alike."""

    def __init__(self) -> None:
        self._modules = dict.fromkeys(_OWN, "")

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
        module, _, path = target.partition(":")
        name = self.use(module, path)
        if _found(module, path) is not trace.lifecycle:
            raise InvalidArgument(f"{target} is not the lifecycle {trace.lifecycle.name!r}")
        return name

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
