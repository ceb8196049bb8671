"""A lifecycle as a user declares one, in the two versions that its program has been through."""

from __future__ import annotations

from typing import Any, Final

import attrs

from rat_fsm.table import Lifecycle


@attrs.frozen
class Packed:
    """It lies in a box."""

    boxes: int = 1


@attrs.frozen
class Done:
    """It was delivered."""


@attrs.frozen
class Noted:
    """Somebody wrote something down."""

    note: Any = None


class Old:
    """What the classes were."""

    @attrs.frozen
    class Placed:
        """Somebody ordered something."""

        item: str
        price: float


class New:
    """What the classes are."""

    @attrs.frozen
    class Placed:
        """Somebody ordered something, for so many cents of a currency."""

        item: str
        cents: int
        currency: str


def to_cents(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 → 2: the price was a float."""
    price = data.pop("price")
    return {**data, "cents": round(price * 100)}


def to_currency(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 → 3: everything was in euros."""
    return {**data, "currency": "EUR"}


OLD_ORDER: Final = Lifecycle(
    "order",
    states=("open", "packed", "done"),
    final={"done"},
    transitions=[
        [Old.Placed, "new", "open"],
        [Packed, "open", "packed"],
        [Noted, ["open", "packed"], None],
        [Done, "packed", "done"],
    ],
)
# Packing is no state any more, only something that happens.
ORDER: Final = Lifecycle(
    "order",
    states=("open", "done"),
    final={"done"},
    transitions=[
        [New.Placed, "new", "open"],
        [Packed, "open", None],
        [Noted, "open", None],
        [Done, "open", "done"],
    ],
    versions={New.Placed: 3},
    upcasters={(New.Placed, 1): to_cents, (New.Placed, 2): to_currency},
)
