"""Classes derived from any class of `transitions`, in a way that pickle can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def derive(make: Callable[[Any], type], base: type, parts: Sequence[type], name: str) -> Any:
    """A class of ``parts`` and then ``base``.

    Instances are pickled as what ``make`` makes of the base, so that another process needs not
    have made it before. The class itself is found in this module, where it has been made.
    """

    def reduce_ex(self: Any, protocol: Any) -> Any:
        if type(self) is not derived:  # somebody has derived from it, and pickle will find that
            return super(derived, self).__reduce_ex__(protocol)
        return _restored, (make, base), self.__getstate__()

    place = f"EventSourced_{base.__module__}_{base.__qualname__}".replace(".", "_")
    body = {"__module__": __name__, "__qualname__": place, "__reduce_ex__": reduce_ex}
    derived: Any = type(name, (*parts, base), body)
    globals()[place] = derived
    return derived


def _restored(make: Callable[[Any], type], base: type) -> Any:
    """An instance, yet without its state."""
    derived: Any = make(base)
    return derived.__new__(derived)
