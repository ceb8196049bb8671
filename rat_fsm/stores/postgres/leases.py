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


def taken(writer: str) -> str:
    """Why a slot is lost, mostly."""
    return f"the slot of {writer} was not renewed in time, and another log has taken it"


@attrs.define
class Claim:
    """A slot that was taken.

    Attributes:
        epoch: under which; whoever takes it next raises it.
        lost: why it is ours no more, empty while it is.
    """

    epoch: int
    lost: str = ""


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

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._claims))

    def took(self, writer: str, epoch: int) -> None:
        """A slot was claimed; it is renewed from now on.

        Raises:
            RuntimeError: there can be no thread that would.
        """
        self._claims[writer] = Claim(epoch)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_renew,
                    args=(weakref.ref(self), self._ended, self.interval),
                    name="rat-fsm-leases",
                    daemon=True,
                )
                thread.start()
                self._thread = thread

    def epoch(self, writer: str) -> int | None:
        """Under which to append; None where the slot was never claimed here.

        Raises:
            WriterFenced: it was, and is lost.
        """
        claim = self._claims.get(writer)
        if claim is None:
            return None
        if claim.lost:
            raise WriterFenced(claim.lost)
        return claim.epoch

    def holds(self, writer: str) -> bool:
        """Whether a slot was claimed and, as far as is known, not lost."""
        claim = self._claims.get(writer)
        return claim is not None and not claim.lost

    def lose(self, writer: str, why: str) -> None:
        """A slot is ours no more."""
        claim = self._claims.get(writer)
        if claim is not None:
            claim.lost = why

    def drop(self, writer: str) -> Claim | None:
        """Forgets a slot; what it was."""
        return self._claims.pop(writer, None)

    def renew(self, line: Line) -> None:
        """Renews what is held, once, on some connection.

        Raises:
            psycopg.Error, TimeoutError: some of it could not be; all of it was tried.
        """
        problems: list[Exception] = []
        for writer, claim in list(self._claims.items()):
            try:
                self._renew(line, writer, claim)
            except (psycopg.Error, TimeoutError) as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _renew(self, line: Line, writer: str, claim: Claim) -> None:
        if not claim.lost:
            lease = self._address.lease
            ((held,),) = line.ask(RENEW, writer=writer, epoch=claim.epoch, lease=lease)
            if not held:
                claim.lost = taken(writer)

    def renewed(self) -> bool:
        """Renews on the connection that is for this; whether the server could be asked."""
        try:
            self.renew(self._line)
        except (psycopg.Error, TimeoutError) as problem:
            _log.debug("cannot renew a slot: %s", self._address.said(problem))
            return False
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
            claim.lost = "a forked child has none of its parent's slots"
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = None


def _renew(reference: weakref.ref[Leases], ended: threading.Event, wait: float) -> None:
    """Renews as long as there is somebody to renew for."""
    while not ended.wait(wait):
        leases = reference()
        if leases is None:
            return
        wait = leases.interval if leases.renewed() else min(PATIENCE, leases.interval)
        del leases
