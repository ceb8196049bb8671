"""The example of orders: its decisions, its program, and what its shop recorded long ago."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from examples import orders, orders_test
from rat_fsm import EventLog, Lifecycle, read_events
from tests.cli.logs import run

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM: Final = Path(orders.__file__)
TESTS: Final = [test for name, test in vars(orders_test).items() if name.startswith("test_")]


@attrs.frozen
class Placed:
    """As it was before amounts had a currency."""

    item: str
    price: float


OLD: Final = Lifecycle(
    "order",
    states=orders.ORDER.states,
    final=orders.ORDER.final,
    transitions=[
        [Placed, "new", "open"],
        *(
            [kind.cls, source, dest]
            for kind in orders.ORDER.events
            if kind.cls is not orders.Placed
            for source, dest in kind.moves.items()
        ),
    ],
)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_a_decision(test: Callable[[], Any]) -> None:
    """What the example says of its decisions holds."""
    test()


def test_the_program_goes_on_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run of it knows what came in before, and the command line reads its events."""
    path = tmp_path / "orders.db"
    command = [sys.executable, str(PROGRAM), "--log", str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == "refused: order 2 is not paid\npaid: 4.50 EUR, 24.00 CHF\n"
    monkeypatch.setattr(sys, "argv", command[1:])
    orders.main()
    assert capsys.readouterr().out == "refused: order 5 is not paid\npaid: 9.00 EUR, 48.00 CHF\n"
    told = run("history", path, "5", "--module", "examples.orders").stdout
    assert 'item "cups", cents 2400, currency "CHF"' in told


def test_the_past_of_the_shop_is_lifted(tmp_path: Path) -> None:
    """Old events are read as new ones, old orders go on, and what they brought counts."""
    path = tmp_path / "orders.db"
    with EventLog.open(path, lifecycles=[OLD], writer="shop") as log:
        log.append(("order", "1"), Placed("tea", 4.5))
    with EventLog.open(path, lifecycles=[orders.ORDER], writer="shop") as log:
        shop = orders.Shop(log)
        shop.ask("1", orders.Pay("card"))
        assert list(shop.report()) == ["4.50 EUR"]
    events = [e.event for e in read_events(path, lifecycles=[orders.ORDER])]
    assert orders.Placed("tea", 450, "EUR") in events
