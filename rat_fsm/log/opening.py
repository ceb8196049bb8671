"""Opens a log for writing: delivers what was spilled, recovers a slot, and joins the halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rat_fsm.log.accept import Acceptor
from rat_fsm.log.aside import set_aside
from rat_fsm.log.commit import Committer
from rat_fsm.log.recover import end_abandoned, fold_writer, recover_free_slots
from rat_fsm.log.run import Run
from rat_fsm.log.spilling import Spill, deliver_left
from rat_fsm.log.succession import Succession
from rat_fsm.stores.port import SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


@attrs.frozen(eq=False)
class Opening:
    """How a log is to be opened.

    Attributes:
        store: where its frames are.
        lifecycles: by name.
        writer: the slot it takes; None is the lowest that is free.
        spill: the file for what the store does not take, None where there is none.
        now: the time, in units of which ``tick`` make a microsecond.
        tick: see ``now``.
    """

    store: Store
    lifecycles: Mapping[str, Lifecycle]
    writer: str | None
    spill: Path | None
    now: Callable[[], int]
    tick: int

    def open(self) -> tuple[Acceptor, Committer, Run]:
        """The halves of the log, joined, and its run, which has not begun."""
        spill = None if self.spill is None else self._open_spill(self.spill)
        try:
            writer = self.store.claim(self.writer)
            try:
                return self._join(writer, spill)
            except BaseException:
                self.store.release(writer)
                raise
        except BaseException:
            if spill is not None:
                spill.file.close()
            raise

    def _open_spill(self, path: Path) -> Spill:
        """Opens the spill file and delivers what another process has left in it."""
        from rat_fsm.stores.spill import open_spill  # SQLite, for those who spill

        file = open_spill(path)
        try:
            left = deliver_left(self.store, file)
            if left:
                set_aside(file, left)
        except BaseException:
            file.close()
            raise
        return Spill(file)

    def _join(self, writer: str, spill: Spill | None) -> tuple[Acceptor, Committer, Run]:
        recover_free_slots(self.store, writer, self.lifecycles)
        model = fold_writer(self.store, writer, self.lifecycles)
        end_abandoned(self.store, writer, model)
        fingerprints = tuple(lifecycle.fingerprint for lifecycle in self.lifecycles.values())
        succession = self._succession()
        committer = Committer(self.store, writer, fingerprints, spill=spill, succession=succession)
        acceptor = Acceptor(model, writer, self.now, committer.wake, tick=self.tick)
        committer.attach(acceptor, self.store.head(writer))
        return acceptor, committer, Run(acceptor, self.lifecycles, succession)

    def _succession(self) -> Succession | None:
        """How it goes on after it has lost its slot, which only a lease lets happen."""
        if not isinstance(self.store, SupportsSlots):
            return None
        return Succession(self.lifecycles, moves=self.writer is None, spill=self.spill)
