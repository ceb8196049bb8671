"""JetStream stores that are closed in the end, for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rat_fsm.stores import open_store
from rat_fsm.stores.nats import NatsStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def opened(url: str, *, writable: bool = True) -> Iterator[NatsStore]:
    """A store that is closed in the end."""
    with contextlib.closing(open_store(url, writable=writable)) as store:
        assert isinstance(store, NatsStore)
        yield store
