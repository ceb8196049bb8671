"""What happens to writers and servers in the fault runs, whatever keeps the frames."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

from rat_fsm import EventLog, read_events
from rat_fsm.errors import WriterBusy
from rat_fsm.events import Closed, Registered, StoreRestored, WriterReplaced
from rat_fsm.stores import open_store
from tests.faults.checking import check_claims, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.plan import Plan
    from tests.faults.proxy import Proxy
    from tests.faults.runs import Run
    from tests.faults.writers import Writer

PATIENCE: Final = 90.0
GLANCE: Final = 0.1
SPILLED: Final = 200


class Server(Protocol):
    """What can be killed and started again, or stop answering for a while."""

    def kill(self) -> None:
        """Ends it at once."""

    def start(self) -> None:
        """Starts it, and returns once it answers."""

    def pause(self) -> None:
        """Stops it; its kernel goes on accepting connections."""

    def resume(self) -> None:
        """Lets it go on."""


def pause_and_resume(run: Run, server: Server) -> None:
    """While the server hangs every health says so and nobody blocks; then all is made up for."""
    run.acknowledge(50)
    server.pause()
    run.wait_for_status("failing")
    run.follow("failing")
    run.record(100)
    server.resume()
    run.wait_for_status("ok")
    run.follow("ok")
    run.acknowledge(100)


def kill_and_start(run: Run, server: Server) -> None:
    """While the server is away every health says so and nobody blocks; then all is made up for."""
    run.acknowledge(50)
    server.kill()
    run.wait_for_status("failing")
    run.follow("failing")
    run.record(100)
    server.start()
    run.wait_for_status("ok")
    run.follow("ok")
    run.acknowledge(100)


def go_through(run: Run, plan: Plan, faults: int) -> None:
    """Records until the plan has done so many things, each kind among them; then in peace."""
    plan.active = True
    deadline = time.monotonic() + PATIENCE
    while len(plan.happened) < faults or not plan.complete:
        assert time.monotonic() < deadline, f"seed {plan.seed}: only {plan.happened}"
        run.record()
    plan.active = False
    run.wait_for_status("ok")
    run.acknowledge(100)


def take_over(url: str, slot: str) -> EventLog:
    """Opens the log as a writer whose process is gone, as soon as its lease has run out."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return EventLog.open(url, writer=slot)
        except WriterBusy:
            assert time.monotonic() < deadline, f"the lease of {slot} does not run out"
            time.sleep(GLANCE)


def is_held(url: str, slot: str) -> bool:
    """Whether a slot cannot be had now."""
    with contextlib.closing(open_store(url, writable=True)) as store:
        try:
            store.claim(slot)
        except WriterBusy:
            return True
        store.release(slot)
    return False


def kill_a_writer(run: Run) -> None:
    """Its slot is held until its lease runs out; who takes it then ends what it had open."""
    dead = run.writers[0]
    dead.wait_for_acknowledgement(50)
    dead.kill()
    check_claims(dead, list(read_events(run.url)))
    assert is_held(run.url, dead.slot)
    with take_over(run.url, dead.slot) as log:
        assert log.writer == dead.slot
        assert log.read_model.open_connections == 0
    reasons = {
        recorded.event.reason
        for recorded in read_events(run.url)
        if recorded.writer == dead.slot and isinstance(recorded.event, Closed)
    }
    assert "crash" in reasons
    run.acknowledge(50)


def lose_a_slot(
    run: Run, leave: Callable[[], None], come_back: Callable[[], None], *, gone: bool
) -> None:
    """Who takes the slot of the first writer ends its streams; it goes on as a new writer.

    Its connections are open all the same: they begin again, as streams that continue the former.
    Where who took the slot is gone by then, that is the slot which it gets again.

    Args:
        run: the writers.
        leave: keeps the first of them from the server.
        come_back: lets it to the server again.
        gone: whether who takes the slot is gone by then.
    """
    former = run.writers[0]
    former.wait_for_acknowledgement(50)
    leave()
    log = take_over(run.url, former.slot)
    assert log.read_model.open_connections == 0
    if gone:
        log.close()
    come_back()
    former.wait(lambda _: any(successions(run.url)), "succession")
    former.wait_for_status("ok")
    assert (former.samples[-1].writer == former.slot) == gone
    log.close()
    run.acknowledge(100)
    check_succession(run.url, former)


def cut_off(run: Run, proxy: Proxy, leave: Callable[[], None], *, spills: bool) -> None:
    """The first writer has given up on what it had sent when that arrives, or its answer does."""

    def come_back() -> None:
        run.writers[0].wait_for_status("failing")
        if spills:
            run.writers[0].wait(lambda w: w.samples[-1].spilled > SPILLED, "spilled events")
        proxy.heal()

    lose_a_slot(run, leave, come_back, gone=False)


def successions(url: str) -> list[WriterReplaced]:
    """Every change of a slot that the log tells of."""
    return [r.event for r in read_events(url) if isinstance(r.event, WriterReplaced)]


def check_succession(url: str, process: Writer) -> None:
    """The new run names the slot that was lost, the file, and what each connection continues."""
    events, replaced, aside = list(read_events(url)), successions(url), set_aside(process)
    assert [(event.writer, event.set_aside) for event in replaced] == [(process.slot, len(aside))]
    assert process.samples[-1].set_aside == len(aside)
    assert not aside or list(read_events(replaced[0].file)) == aside
    began = {recorded.stream.born for recorded in events if recorded.writer == process.slot}
    continued = [r.event.continues for r in events if isinstance(r.event, Registered)]
    assert {born for born in continued if born} <= began
    assert any(continued)


def spill(run: Run, server: Server) -> None:
    """What the server cannot take goes into files, in order, and from there to the server."""
    run.acknowledge(50)
    server.kill()
    for writer in run.writers:
        writer.wait(lambda w: w.samples[-1].spilled > SPILLED, "spilled events")
    run.record(100)
    server.start()
    run.wait_for_status("ok")
    run.acknowledge(100)
    for writer in run.writers:
        writer.wait(lambda w: w.samples[-1].spilled == 0, "end of its spilled events")
    restored = [r for r in read_events(run.url) if isinstance(r.event, StoreRestored)]
    assert {r.writer for r in restored if r.event.spilled} == {w.slot for w in run.writers}


def kill_one_that_has_spilled(run: Run, server: Server, spill: Path, *, taken: bool) -> None:
    """The next to open its file delivers what is in it, or sets it aside.

    Args:
        run: the writer.
        server: where it records.
        spill: its file.
        taken: whether its slot is somebody else's before.
    """
    (dead,) = run.writers
    server.kill()
    dead.wait(lambda w: w.samples[-1].spilled > SPILLED, "spilled events")
    dead.kill()
    server.start()
    told = dead.samples[-1]
    if taken:
        take_over(run.url, dead.slot).close()
    with EventLog.open(run.url, spill=spill) as log:
        assert log.health.spilled == 0
    kept = set_aside(dead) if taken else [r for r in read_events(run.url) if r.writer == dead.slot]
    assert max(recorded.seq for recorded in kept) >= told.claimed + told.spilled
