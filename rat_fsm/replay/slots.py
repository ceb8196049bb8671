"""Which writers' slots are held: where a store leases them it says so, elsewhere one tries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import StoreUnreadable, WriterBusy
from rat_fsm.stores.port import SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.stores.port import Store


@attrs.frozen
class SlotState:
    """What is known of a writer's slot.

    Attributes:
        held: whether a process holds it now, so far as can be told; None where that is not known.
        epoch: how often it was taken, None where the store does not count.
        seen: when its holder last said that it lives, microseconds; None where nobody is asked to.
    """

    held: bool | None
    epoch: int | None = None
    seen: int | None = None


def slots_of(store: Store, writers: Iterable[str]) -> dict[str, SlotState]:
    """The slots of these writers, and of those that a store that leases them knows besides.

    Raises:
        StoreUnreadable: the store cannot be read.
    """
    found = {writer: SlotState(None) for writer in writers}
    if isinstance(store, SupportsSlots):
        leased = {name: SlotState(s.held, s.epoch, s.seen) for name, s in store.slots().items()}
        return {**{writer: SlotState(held=False) for writer in found}, **leased}
    return {writer: SlotState(_is_held(store, writer)) for writer in found}


def _is_held(store: Store, writer: str) -> bool | None:
    """Takes a slot and gives it back at once: that somebody lives is known by nothing else."""
    if not _was_ever_taken(store, writer):
        return False
    try:
        store.claim(writer)
    except WriterBusy:
        return True
    except StoreUnreadable:  # not ours to try
        return None
    store.release(writer)
    return False


def _was_ever_taken(store: Store, writer: str) -> bool:
    """Whether there is a lock file, so that trying it makes none; other stores have no files."""
    where = getattr(store, "path", None)
    if not isinstance(where, Path):
        return True
    from rat_fsm.stores.sqlite import slot_name

    return Path(f"{where}.{slot_name(writer)}.lock").exists()
