"""The models of a machine: a list that knows at once whether it holds one.

`transitions` asks before it adds a model, and a plain list looks through all of them each time,
which makes the adding of a hundred thousand quadratic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Models(list[Any]):
    """A list with an index by identity, used where no model compares by anything else."""

    def __init__(self, models: Iterable[Any] = ()) -> None:
        super().__init__(models)
        self._stale()

    def __reduce__(self) -> tuple[type[Models], tuple[()], None, Iterator[Any]]:
        """Without the index, whose identities hold in this process only."""
        return Models, (), None, iter(self)

    def _stale(self) -> None:
        self._ids: set[int] = set()
        self._comparable = 0

    def __contains__(self, model: object) -> bool:
        """Whether it, or one that is equal, is among them."""
        if len(self) != len(self._ids):
            self._ids = set(map(id, self))
            self._comparable = sum(map(_compares, self))
        if id(model) in self._ids:
            return True
        return bool(self._comparable or _compares(model)) and super().__contains__(model)

    def append(self, model: Any) -> None:
        """Adds one at the end."""
        super().append(model)
        self._ids.add(id(model))
        self._comparable += _compares(model)

    def remove(self, model: Any) -> None:
        """Removes the first that is it, or equal to it."""
        self.pop(self.index(model))

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Removes one by its place."""
        gone = super().pop(index)
        self._ids.discard(id(gone))
        self._comparable -= _compares(gone)
        return gone

    # What else adds leaves the index shorter than the list, which is seen; this would not be.
    def clear(self) -> None:
        """Removes all."""
        super().clear()
        self._stale()

    def __setitem__(self, place: Any, model: Any) -> None:
        super().__setitem__(place, model)
        self._stale()

    def __delitem__(self, place: Any) -> None:
        super().__delitem__(place)
        self._stale()


def _compares(model: object) -> bool:
    return type(model).__eq__ is not object.__eq__
