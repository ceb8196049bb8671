"""A lifecycle of a user's whose events hold more than JSON does."""

from __future__ import annotations

import datetime  # noqa: TC003 - whoever reads the events back wants the real type
from typing import Final

import attrs

from rat_fsm.table import Lifecycle


@attrs.frozen
class Sent:
    """It is on its way since then."""

    since: datetime.datetime


@attrs.frozen
class Delivered:
    """It has arrived."""


PARCEL: Final = Lifecycle(
    "parcel",
    states=("away", "there"),
    final={"there"},
    transitions=[[Sent, "new", "away"], [Delivered, "away", "there"]],
    reusable_ids=True,
)
