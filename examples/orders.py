"""Orders as a lifecycle of one's own: events, a table, decisions, a projection and an upcaster.

    python examples/orders.py --log orders.db
    rat-fsm history orders.db 17 --module examples.orders
    python -m pytest examples/orders_test.py

It knows no connection. What happened in the shop before amounts had a currency is read as well: an
upcaster lifts it.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm import EventLog, Lifecycle, Recorded
from rat_fsm.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# What can happen to an order: facts, in the past tense, that hold nothing but plain values.


@attrs.frozen
class Placed:
    """Somebody ordered something, for so many cents."""

    item: str
    cents: int
    currency: str


@attrs.frozen
class Paid:
    """It was paid."""

    method: str


@attrs.frozen
class Shipped:
    """It is on its way."""

    carrier: str


@attrs.frozen
class Delivered:
    """It has arrived."""


@attrs.frozen
class Cancelled:
    """Nothing will come of it."""

    reason: str


def with_currency(data: dict[str, Any]) -> dict[str, Any]:
    """Placed, version 1 → 2: there was a price in euros."""
    return {"item": data["item"], "cents": round(data["price"] * 100), "currency": "EUR"}


ORDER = Lifecycle(
    "order",
    states=("open", "paid", "shipped", "delivered", "cancelled"),
    final={"delivered", "cancelled"},
    transitions=[
        [Placed, "new", "open"],
        [Paid, "open", "paid"],
        [Shipped, "paid", "shipped"],
        [Delivered, "shipped", "delivered"],
        [Cancelled, ["open", "paid"], "cancelled"],
    ],
    versions={Placed: 2},
    upcasters={(Placed, 1): with_currency},
)


# What may be asked of an order, and what follows: a pure function, which may say no.


@attrs.frozen
class Place:
    """I want this."""

    item: str
    cents: int
    currency: str = "EUR"


@attrs.frozen
class Pay:
    """Here is the money."""

    method: str


@attrs.frozen
class Ship:
    """Send it."""

    carrier: str


@attrs.frozen
class Cancel:
    """I do not want it any more."""

    reason: str


def decide(request: Any, order: Any, _model: Any) -> Sequence[Any]:
    """The events that follow from a request to an order; `order.state` is where it stands."""
    match request:
        case Place(cents=cents) if cents <= 0:
            raise Refused("an order costs something", cause="free")
        case Place(item, cents, currency):
            return [Placed(item, cents, currency)]
        case Pay(method):
            return [Paid(method)]
        case Ship() if order.state == "open":
            raise Refused(f"order {order.id} is not paid", cause="unpaid")
        case Ship(carrier):
            return [Shipped(carrier)]
        case Cancel() if order.state in ORDER.final:
            return []  # twice is as good as once
        case Cancel(reason):
            return [Cancelled(reason)]
    raise TypeError(f"{request!r} is no request")


class Income:
    """What was paid for, by currency: a fold over the log, put away when the log is closed."""

    name = "income"
    version = 1

    def __init__(self) -> None:
        self.cents: Counter[str] = Counter()
        self._open: dict[str, tuple[str, int]] = {}

    def fold(self, recorded: Recorded) -> None:
        match recorded.event:
            case Placed(_, cents, currency):
                self._open[recorded.stream.id] = currency, cents
            case Paid() if recorded.stream.id in self._open:
                currency, cents = self._open.pop(recorded.stream.id)
                self.cents[currency] += cents
            case Cancelled():
                self._open.pop(recorded.stream.id, None)

    def dump(self) -> Any:
        return {"cents": self.cents, "open": self._open}

    def load(self, data: Any) -> None:
        self.cents = Counter(data["cents"])
        self._open = {order: (currency, cents) for order, (currency, cents) in data["open"].items()}


class Shop:
    """Orders in a log."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.income = log.project(Income())

    def ask(self, order: str, *requests: Any) -> None:
        """Decides one request after the other, each under the lock of the log."""
        for request in requests:
            self.log.transact(ORDER, order, functools.partial(decide, request))

    def report(self) -> Iterable[str]:
        """What came in, of all that was asked for so far."""
        self.income.wait(self.log.flush())
        with self.income.reading() as income:
            return [f"{cents / 100:.2f} {currency}" for currency, cents in income.cents.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--log", default="memory:", help="where the log is kept")
    # An order belongs to the writer that began it; under the same name it goes on next time.
    with EventLog.open(parser.parse_args().log, lifecycles=[ORDER], writer="shop") as log:
        shop = Shop(log)
        number = sum(log.read_model.totals.states["order"].values())
        shop.ask(f"{number + 1}", Place("tea", 450), Pay("card"), Ship("DHL"))
        shop.ask(f"{number + 2}", Place("cups", 2400, "CHF"))
        try:
            shop.ask(f"{number + 2}", Ship("DHL"))
        except Refused as refused:
            print(f"refused: {refused}")
        shop.ask(f"{number + 2}", Pay("invoice"))
        shop.ask(f"{number + 3}", Place("milk", 120), Cancel("sour"), Cancel("sour"))
        print("paid:", ", ".join(shop.report()))


if __name__ == "__main__":
    main()
