"""Who is let in: the limits of this process, and clients that were told to stay out."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rat_fsm.runtime.manager import ConnectionManager

KEPT_OUT: Final = 10_000
# Seconds. Spread, so that clients that were turned away together do not come back together.
RETRY_AFTER: Final = (1, 5)
_TEXTS: Final = {
    "draining": "this server is restarting\n",
    "max_connections": "too many connections\n",
    "per_client": "too many connections of this client\n",
    "log_unavailable": "this connection cannot be recorded now\n",
}


@attrs.frozen
class Refusal:
    """Why a client is not let in, and what HTTP says about it.

    Attributes:
        cause: as in ``node.connection_refused``.
        status: of the HTTP answer.
        headers: of the HTTP answer, names in lower case.
    """

    cause: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """What a person gets to read; empty where HTTP has no place for it."""
        return _TEXTS.get(self.cause, "")


def _refusal(cause: str, status: int, *more: tuple[str, str]) -> Refusal:
    wait = random.randint(*RETRY_AFTER)  # noqa: S311 - a spread, no secret
    return Refusal(cause, status, (("retry-after", str(wait)), *more))


def refusal_for(cause: str) -> Refusal:
    """The answer to a client that the manager turned away for a cause."""
    if cause == "draining":  # what asked over this socket shall ask elsewhere
        return _refusal(cause, 503, ("connection", "close"))
    return _refusal(cause, 429 if cause == "per_client" else 503)


class Gate:
    """Claims a slot for a client before it is served, and takes it back afterwards.

    Limits are those of this process. The order is: told to stay out, draining, the process's
    limit, the client's limit.
    """

    def __init__(self, manager: ConnectionManager, max_per_client: int | None) -> None:
        self._manager = manager
        self._most = max_per_client
        self._open: dict[str, int] = {}
        self._kept_out: OrderedDict[Hashable, None] = OrderedDict()
        self._lock = threading.Lock()

    def claim(self, key: str | None, identity: Hashable) -> Refusal | None:
        """Claims a slot; answers with the refusal, which is counted, where there is none.

        Args:
            key: whose limit counts; None is unlimited.
            identity: what `keep_out` knows this client by.
        """
        refusal = self.shut_out(identity)
        if refusal is not None:
            return refusal
        cause = self._cause() or self._claim(key)
        if cause is None:
            return None
        self._manager.count_refusal(cause)
        return refusal_for(cause)

    def _cause(self) -> str | None:
        manager = self._manager
        if manager.draining or manager.closed:
            return "draining"
        limit = manager.max_connections
        full = limit is not None and manager.log.read_model.open_connections >= limit
        return "max_connections" if full else None

    def _claim(self, key: str | None) -> str | None:
        if key is None or self._most is None:
            return None
        with self._lock:
            count = self._open.get(key, 0)
            if count >= self._most:
                return "per_client"
            self._open[key] = count + 1
        return None

    def release(self, key: str | None) -> None:
        """Gives a claimed slot back."""
        if key is None or self._most is None:
            return
        with self._lock:
            count = self._open.get(key, 0) - 1
            if count > 0:
                self._open[key] = count
            else:
                self._open.pop(key, None)

    def keep_out(self, identity: Hashable) -> None:
        """Turns this client away at its next attempt; the oldest of very many are forgotten."""
        with self._lock:
            self._kept_out[identity] = None
            while len(self._kept_out) > KEPT_OUT:
                self._kept_out.popitem(last=False)

    @property
    def shuts_out(self) -> bool:
        """Whether anybody was told to stay out."""
        return bool(self._kept_out)

    def shut_out(self, identity: Hashable) -> Refusal | None:
        """The refusal of a client that was told to stay out, once; it is counted."""
        with self._lock:
            if self._kept_out.pop(identity, self) is not None:
                return None
        self._manager.count_refusal("stay_out")
        return Refusal("stay_out", 204)

    @property
    def claimed(self) -> int:
        """How many slots of clients with a key are taken."""
        with self._lock:
            return sum(self._open.values())
