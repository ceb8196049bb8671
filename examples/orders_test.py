"""The decisions about orders, as sentences: given what happened, when this is asked, then this."""

from __future__ import annotations

import functools

from examples.orders import (
    ORDER,
    Cancel,
    Cancelled,
    Paid,
    Pay,
    Place,
    Placed,
    Ship,
    Shipped,
    decide,
)
from rat_fsm.errors import IllegalEvent
from rat_fsm.testing import given

order = functools.partial(given, lifecycle=ORDER, decide=decide)
TEA = Placed("tea", 450, "EUR")


def test_an_order_is_placed_paid_and_shipped() -> None:
    placed = order().when(Place("tea", 450)).then(TEA)
    placed.when(Pay("card")).then(Paid("card")).when(Ship("DHL")).then(Shipped("DHL"))


def test_nothing_is_free() -> None:
    order().when(Place("tea", 0)).then_refused(cause="free")


def test_what_is_not_paid_is_not_shipped() -> None:
    order(TEA).when(Ship("DHL")).then_refused(cause="unpaid")


def test_an_order_is_placed_once() -> None:
    order(TEA).when(Place("cups", 2400)).then_refused(IllegalEvent)


def test_cancelling_twice_is_as_good_as_once() -> None:
    cancelled = order(TEA).when(Cancel("sour")).then(Cancelled("sour"))
    cancelled.when(Cancel("sour")).then()


def test_what_is_on_its_way_cannot_be_cancelled() -> None:
    order(TEA, Paid("card"), Shipped("DHL")).when(Cancel("late")).then_refused(IllegalEvent)
