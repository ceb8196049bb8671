"""The slots that a store has claimed, and the thread that renews them by the server's clock."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Final

import attrs
import psycopg

from rat_fsm.errors import WriterFenced
from rat_fsm.stores.postgres.line import Line, when_forked
from rat_fsm.stores.postgres.statements import RENEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.postgres.address import Address

SHARE: Final = 3  # a lease is renewed when a third of it has passed
PATIENCE: Final = 1.0
_log = logging.getLogger("rat_fsm")


@attrs.define
class Claim:
    """A slot that was taken.

    Attributes:
        epoch: under which; whoever takes it next raises it.
        lost: whether somebody has.
    """

    epoch: int
    lost: bool = False


class Leases:
    """What one handle holds. Renewing needs a connection of its own: others may be busy."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._line = Line(address, seconds)
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        when_forked(self)

    def __contains__(self, writer: str) -> bool:
        return writer in self._claims

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._claims))

    def took(self, writer: str, epoch: int) -> None:
        """A slot was claimed; it is renewed from now on."""
        self._claims[writer] = Claim(epoch)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_renew,
                    args=(weakref.ref(self), self._ended, self.interval),
                    name="rat-fsm-leases",
                    daemon=True,
                )
                self._thread.start()

    def epoch(self, writer: str) -> int | None:
        """Under which to append; None where the slot was never claimed here.

        Raises:
            WriterFenced: it was, and is lost.
        """
        claim = self._claims.get(writer)
        if claim is None:
            return None
        if claim.lost:
            raise WriterFenced(
                f"the slot of {writer} was not renewed in time, and another log has taken it"
            )
        return claim.epoch

    def holds(self, writer: str) -> bool:
        """Whether a slot was claimed and, as far as is known, not lost."""
        claim = self._claims.get(writer)
        return claim is not None and not claim.lost

    def lose(self, writer: str) -> None:
        """Somebody else has taken a slot."""
        claim = self._claims.get(writer)
        if claim is not None:
            claim.lost = True

    def drop(self, writer: str) -> Claim | None:
        """Forgets a slot; what it was."""
        return self._claims.pop(writer, None)

    def renew(self) -> bool:
        """Renews what is held, once; whether the server could be asked."""
        for writer, claim in list(self._claims.items()):
            if claim.lost:
                continue
            try:
                lease = self._address.lease
                ((held,),) = self._line.ask(RENEW, writer=writer, epoch=claim.epoch, lease=lease)
            except (psycopg.Error, TimeoutError) as problem:
                _log.debug("cannot renew %s: %s", writer, self._address.said(problem))
                return False
            claim.lost = not held
        return True

    @property
    def interval(self) -> float:
        """How often to renew, seconds."""
        return self._address.lease / SHARE

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._line.close()

    def forked(self) -> None:
        """In a forked child: the slots are the parent's."""
        for claim in self._claims.values():
            claim.lost = True
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = None


def _renew(reference: weakref.ref[Leases], ended: threading.Event, wait: float) -> None:
    """Renews as long as there is somebody to renew for."""
    while not ended.wait(wait):
        leases = reference()
        if leases is None:
            return
        wait = leases.interval if leases.renew() else min(PATIENCE, leases.interval)
        del leases
